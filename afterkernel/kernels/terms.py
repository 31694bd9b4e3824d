"""Data held for a block of samples: for each layer, the terms whose products add up to its Gram matrix.

A term is one layer's share of the embedding of n samples, either written out (`Gradients`) or as the factors that make
it (`Factors`, `Lookups`). Terms of the same layer and method multiply with each other; the sum over the terms of all
layers is the Gram matrix.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from afterkernel.kernels import contract
from afterkernel.types import Float, Int, Tensor

# Columns of gradients that are compared at once.
COMPARED = 1 << 18


@dataclass(frozen=True)
class Term(ABC):
    """One layer's share of the embeddings of n samples; every field is a tensor whose first dimension is the sample."""

    def __len__(self) -> int:
        return len(self._tensors()[0])

    def _tensors(self) -> list[Tensor]:
        return [getattr(self, field.name) for field in fields(self)]

    def __getitem__(self, part: slice) -> Term:
        return type(self)(*(tensor[part] for tensor in self._tensors()))

    def empty_like(self, n: int) -> Term:
        """An uninitialised term of the same kind for n samples."""
        return type(self)(*(tensor.new_empty(n, *tensor.shape[1:]) for tensor in self._tensors()))

    def put(self, start: int, other: Term) -> None:
        """Write the samples of another term from `start` on."""
        if other is self:
            return
        for mine, theirs in zip(self._tensors(), other._tensors(), strict=True):
            mine[start : start + len(other)] = theirs

    @property
    def dtype(self) -> torch.dtype:
        """The type of its floating-point numbers."""
        found: torch.dtype = next(tensor.dtype for tensor in self._tensors() if tensor.is_floating_point())
        return found

    def to(self, dtype: torch.dtype) -> Term:
        """The term with its floating-point tensors in another data type."""
        return type(self)(*(t.to(dtype) if t.is_floating_point() else t for t in self._tensors()))

    def magnitudes(self) -> Float[Tensor, "fields n"]:
        """The length of each sample's numbers in each floating-point tensor, in float64; NaN or inf where one is."""
        return torch.stack([_lengths(tensor.flatten(1)) for tensor in self._tensors() if tensor.is_floating_point()])

    @property
    def bytes(self) -> int:
        """Memory of the term."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors())

    @abstractmethod
    def add_products(self, other: Term, out: Float[Tensor, "nk mk"]) -> None:
        """out += the inner products of these gradients (rows) with those of `other` (columns)."""

    @abstractmethod
    def paired_products(self, other: Term) -> Float[Tensor, " n"]:
        """Inner products of these gradients with those of `other`, sample by sample, in float64."""

    def squares(self, other: Term) -> Float[Tensor, "3 n"]:
        """Squared lengths of these gradients, of those of `other`, and of their differences, sample by sample."""
        own, cross, theirs = (a.paired_products(b) for a, b in ((self, self), (self, other), (other, other)))
        return torch.stack([own, theirs, (own - 2 * cross + theirs).clamp(min=0)])

    @abstractmethod
    def gradients(self) -> Float[Tensor, "n k p"]:
        """The gradients, written out."""

    @classmethod
    @abstractmethod
    def merged(cls, terms: Sequence[Any]) -> Term:
        """One term for several calls of one layer, whose gradients add up."""

    @property
    def output_count(self) -> int:
        """How many outputs it has gradients of."""
        return 1

    def of_output(self, k: int) -> Term:
        """The term of one of several outputs; itself where there is only one. Raises IndexError for any other."""
        if k != 0:
            raise IndexError(f"{type(self).__name__} has one output, not output {k}")
        return self

    @abstractmethod
    def outputs_joined(self) -> Term:
        """The term whose products are those of this one summed over equal outputs (k becomes 1)."""


def _lengths(numbers: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
    """Lengths of the rows, also where their squares underflow (the largest number then) or overflow (a bound)."""
    lengths = torch.linalg.vector_norm(numbers, dim=1).double()
    limits = torch.finfo(numbers.dtype)
    lost = ~(lengths > math.sqrt(limits.tiny / limits.eps))
    over = ~torch.isfinite(lengths)
    if numbers.device.type == "cpu" and not bool((lost | over).any()):
        whole: Tensor = lengths
        return whole
    # Several times slower, so only where it is needed; a GPU would have to wait to find out where that is.
    largest = torch.linalg.vector_norm(numbers, ord=torch.inf, dim=1).double()
    found: Tensor = torch.where(over, largest * math.sqrt(numbers.shape[1]), torch.where(lost, largest, lengths))
    return found


@dataclass(frozen=True)
class Gradients(Term):
    """Gradients written out."""

    rows: Float[Tensor, "n k p"]

    def add_products(self, other: Term, out: Float[Tensor, "nk mk"]) -> None:
        """A matrix product."""
        assert isinstance(other, Gradients)
        contract.add_gradient_products(self.rows.flatten(0, 1), other.rows.flatten(0, 1), out)

    def paired_products(self, other: Term) -> Float[Tensor, " n"]:
        """Row by row."""
        assert isinstance(other, Gradients)
        return contract.paired_gradient_products(self.rows.flatten(1), other.rows.flatten(1))

    def squares(self, other: Term) -> Float[Tensor, "3 n"]:
        """From lengths in the gradients' own precision, which takes a tenth of the time of products in float64."""
        assert isinstance(other, Gradients)
        pairs = zip(
            torch.split(self.rows.flatten(1), COMPARED, dim=1),
            torch.split(other.rows.flatten(1), COMPARED, dim=1),
            strict=True,
        )
        return torch.stack([torch.stack([_lengths(a), _lengths(b), _lengths(a - b)]).square() for a, b in pairs]).sum(0)

    def gradients(self) -> Float[Tensor, "n k p"]:
        """Returns itself."""
        return self.rows

    @classmethod
    def merged(cls, terms: Sequence[Gradients]) -> Gradients:
        """Their sum."""
        rows = terms[0].rows
        for term in terms[1:]:
            rows += term.rows
        return cls(rows)

    @property
    def output_count(self) -> int:
        """The second dimension."""
        return self.rows.shape[1]

    def of_output(self, k: int) -> Gradients:
        """The rows of one output."""
        return Gradients(self.rows[:, k : k + 1])

    def outputs_joined(self) -> Gradients:
        """Gradients of all outputs in one row."""
        return Gradients(self.rows.flatten(1).unsqueeze(1))


@dataclass(frozen=True)
class Factors(Term):
    """Inputs and output gradients of a layer at each position, whose outer products sum to the gradient."""

    inputs: Float[Tensor, "n q s d"]
    outputs: Float[Tensor, "n k q s o"]

    def add_products(self, other: Term, out: Float[Tensor, "nk mk"]) -> None:
        """Products of inputs times products of output gradients."""
        assert isinstance(other, Factors)
        contract.add_factor_products(self.inputs, self.outputs, other.inputs, other.outputs, out)

    def paired_products(self, other: Term) -> Float[Tensor, " n"]:
        """Products of inputs times products of output gradients, row by row."""
        assert isinstance(other, Factors)
        return contract.paired_factor_products(self.inputs, self.outputs, other.inputs, other.outputs)

    def gradients(self) -> Float[Tensor, "n k p"]:
        """Sums of outer products."""
        return contract.weight_gradients(self.inputs, self.outputs)

    @classmethod
    def merged(cls, terms: Sequence[Factors]) -> Factors:
        """The positions of all calls."""
        if len(terms) == 1:
            return terms[0]
        return cls(
            torch.cat([term.inputs for term in terms], dim=2), torch.cat([term.outputs for term in terms], dim=3)
        )

    @property
    def output_count(self) -> int:
        """The second dimension."""
        return self.outputs.shape[1]

    def of_output(self, k: int) -> Factors:
        """The gradients in one output, with the same inputs."""
        return type(self)(self.inputs, self.outputs[:, k : k + 1])

    def outputs_joined(self) -> Factors:
        """Output gradients of all outputs side by side."""
        g = self.outputs
        return type(self)(self.inputs, g.permute(0, 2, 3, 1, 4).flatten(3).unsqueeze(1))


class ExpandedFactors(Factors):
    """Factors that are multiplied as the gradients that they make, which take more memory than they do."""

    def add_products(self, other: Term, out: Float[Tensor, "nk mk"]) -> None:
        """Products of gradients that are written out for some samples at a time."""
        assert isinstance(other, ExpandedFactors)
        contract.add_expanded_products(self.inputs, self.outputs, other.inputs, other.outputs, out)


@dataclass(frozen=True)
class Lookups(Term):
    """Indices into an embedding table and the output gradients there; -1 marks an entry that is not trained."""

    indices: Int[Tensor, "n s"]
    outputs: Float[Tensor, "n k s o"]

    def add_products(self, other: Term, out: Float[Tensor, "nk mk"]) -> None:
        """Products of output gradients where the indices agree."""
        assert isinstance(other, Lookups)
        contract.add_lookup_products(self.indices, self.outputs, other.indices, other.outputs, out)

    def paired_products(self, other: Term) -> Float[Tensor, " n"]:
        """Products of output gradients where the indices agree, row by row."""
        assert isinstance(other, Lookups)
        return contract.paired_lookup_products(self.indices, self.outputs, other.indices, other.outputs)

    def gradients(self) -> Float[Tensor, "n k p"]:
        """One row of the table for every entry that occurs in the block: enough for inner products within it."""
        return contract.lookup_gradients(self.indices, self.outputs, int(self.indices.max()) + 1)

    @classmethod
    def merged(cls, terms: Sequence[Lookups]) -> Lookups:
        """The positions of all calls."""
        if len(terms) == 1:
            return terms[0]
        return cls(
            torch.cat([term.indices for term in terms], dim=1), torch.cat([term.outputs for term in terms], dim=2)
        )

    @property
    def output_count(self) -> int:
        """The second dimension."""
        return self.outputs.shape[1]

    def of_output(self, k: int) -> Lookups:
        """The gradients in one output, with the same indices."""
        return Lookups(self.indices, self.outputs[:, k : k + 1])

    def outputs_joined(self) -> Lookups:
        """Output gradients of all outputs side by side."""
        return Lookups(self.indices, self.outputs.transpose(1, 2).flatten(2).unsqueeze(1))


@dataclass(frozen=True)
class Block:
    """The terms of n samples, by layer."""

    layers: Mapping[str, tuple[Term, ...]]

    def __len__(self) -> int:
        return len(next(iter(self.layers.values()))[0])

    def __getitem__(self, part: slice) -> Block:
        return type(self)({name: tuple(term[part] for term in terms) for name, terms in self.layers.items()})

    def empty_like(self, n: int) -> Block:
        """An uninitialised block of the same layout for n samples."""
        return type(self)({name: tuple(term.empty_like(n) for term in terms) for name, terms in self.layers.items()})

    def put(self, start: int, other: Block) -> None:
        """Write the samples of another block from `start` on."""
        for name, terms in self.layers.items():
            for mine, theirs in zip(terms, other.layers[name], strict=True):
                mine.put(start, theirs)

    def to(self, dtype: torch.dtype) -> Block:
        """The block with its floating-point tensors in another data type."""
        return type(self)({name: tuple(term.to(dtype) for term in terms) for name, terms in self.layers.items()})

    @property
    def bytes(self) -> int:
        """Memory of the block."""
        return sum(term.bytes for terms in self.layers.values() for term in terms)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of what can have Gram matrices of their own, which add up to that of the block."""
        return tuple(self.layers)

    def part(self, name: str) -> tuple[Term, ...]:
        """The terms of one of the `parts`."""
        return self.layers[name]

    def add_products(self, other: Block, out: Float[Tensor, "nk mk"]) -> None:
        """out += the Gram matrix of these samples (rows) with those of `other` (columns)."""
        for name, terms in self.layers.items():
            for mine, theirs in zip(terms, other.layers[name], strict=True):
                mine.add_products(theirs, out)

    def paired_products(self, other: Block) -> Float[Tensor, " n"]:
        """Inner products of paired samples, in float64, summed over outputs."""
        return torch.stack(list(self.paired_layer_products(other).values())).sum(dim=0)

    def paired_layer_products(self, other: Block) -> dict[str, Float[Tensor, " n"]]:
        """The same of each layer; their sum is that of the whole."""
        return {
            name: contract.added(
                [mine.paired_products(theirs) for mine, theirs in zip(terms, other.layers[name], strict=True)]
            )
            for name, terms in self.layers.items()
        }

    def embeddings(self) -> Float[Tensor, "n kp"]:
        """The embeddings written out, one row per sample, in an order of this engine's own."""
        rows = [term.gradients().flatten(1) for terms in self.layers.values() for term in terms]
        return torch.cat(rows, dim=1)


class OutputsApart(Block):
    """Terms of several outputs, of which each has a Gram matrix of its own: `parts` are the outputs, by number.

    The Gram matrix of the block is their sum.
    """

    @property
    def parts(self) -> tuple[str, ...]:
        """The numbers of the outputs."""
        return tuple(str(k) for k in range(next(iter(self.layers.values()))[0].output_count))

    def part(self, name: str) -> tuple[Term, ...]:
        """The terms of one output, of all layers in their order."""
        return tuple(term.of_output(int(name)) for terms in self.layers.values() for term in terms)

    def add_products(self, other: Block, out: Float[Tensor, "n m"]) -> None:
        """out += the sum of the outputs' Gram matrices."""
        for name in self.parts:
            for mine, theirs in zip(self.part(name), other.part(name), strict=True):
                mine.add_products(theirs, out)
