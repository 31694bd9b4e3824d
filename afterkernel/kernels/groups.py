"""Units: the parts of a gradient that are held by themselves, and how each is made of the sites that it belongs to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from afterkernel.kernels.capture import layer_of
from afterkernel.kernels.layers import Call, Linear, Method, Shape
from afterkernel.kernels.numeric import as_real
from afterkernel.kernels.sites import Recorded, Site
from afterkernel.kernels.terms import Gradients, Lookups, Term
from afterkernel.types import Float, Int, Tensor

# A use of an operand: the number of the site among those recorded, and that of the operand among its own.
Use = tuple[int, int]


@dataclass(frozen=True)
class Unit:
    """A weight and its bias that are held together; either may be absent, frozen, or held elsewhere.

    `part` counts the operands that one parameter is split into.
    """

    layer: str
    weight: str | None
    bias: str | None
    part: int = 0


@dataclass(frozen=True)
class Gathered:
    """What one backward pass gives: sites, and the gradients in their targets, of all samples or only `rows`."""

    recorded: Sequence[Recorded]
    grads: dict[int, list[Tensor]]
    rows: Sequence[int] | None
    dtype: torch.dtype

    def call(self, number: int) -> tuple[Call, Tensor]:
        """The layer of one site, with the gradient in its result."""
        return self.recorded[number].of_rows(self.rows, self.grads[number][0], self.dtype)

    def written(self, use: Use) -> Float[Tensor, "r k p"]:
        """The gradients in one operand of one site."""
        number, operand = use
        return self.recorded[number].rows(operand, self.grads[number], self.rows, self.dtype)


@dataclass(frozen=True)
class Group(ABC):
    """Units that are made together."""

    @property
    @abstractmethod
    def shapes(self) -> Mapping[Unit, Shape]:
        """The units, with the sizes that decide how each is held."""

    @property
    @abstractmethod
    def sites(self) -> frozenset[int]:
        """Numbers of the sites."""

    @property
    @abstractmethod
    def copies(self) -> int:
        """How often a written-out gradient lies in memory while it is made, apart from the result."""

    def reason(self, sites: Sequence[Site]) -> str | None:
        """Why the gradients are held as they are, in words; None where the sizes decide."""
        methods = dict.fromkeys(sites[number].method or "a layer" for number in sorted(self.sites))
        return f"written out at its uses: {', '.join(methods)}"

    @abstractmethod
    def terms(self, gathered: Gathered, method: Method, out: Term | None) -> Iterator[tuple[Unit, Term]]:
        """The terms of the units, in their order; a single one may be written to `out`."""


@dataclass(frozen=True)
class CallGroup(Group):
    """One layer, called once or several times."""

    unit: Unit
    shape: Shape
    numbers: tuple[int, ...]
    scale: float

    def reason(self, sites: Sequence[Site]) -> None:
        """The sizes decide."""

    @property
    def shapes(self) -> Mapping[Unit, Shape]:
        """One unit."""
        return {self.unit: self.shape}

    @property
    def sites(self) -> frozenset[int]:
        """One per call."""
        return frozenset(self.numbers)

    @property
    def copies(self) -> int:
        """Those of several calls are added up."""
        return 2 * (len(self.numbers) > 1) + 2 * (self.shape.kind == "lookup")

    def terms(self, gathered: Gathered, method: Method, out: Term | None) -> Iterator[tuple[Unit, Term]]:
        """The term of the one call, or of all calls merged."""
        trained = {"weight": self.unit.weight is not None, "bias": self.unit.bias is not None}
        terms = []
        for number in self.numbers:
            call, grad = gathered.call(number)
            grad = grad if self.scale == 1 else grad * self.scale
            terms.append(call.term(method, grad, out=out if len(self.numbers) == 1 else None, **trained))
        yield self.unit, terms[0] if len(terms) == 1 else type(terms[0]).merged(terms)


@dataclass(frozen=True)
class RowsGroup(Group):
    """One operand, whose gradients are written out at each of its uses and added up."""

    unit: Unit
    size: int
    uses: tuple[Use, ...]
    scale: float

    @property
    def shapes(self) -> Mapping[Unit, Shape]:
        """A vector."""
        return {self.unit: Shape("vector", 1, 1, self.size, 1, self.size)}

    @property
    def sites(self) -> frozenset[int]:
        """Of all uses."""
        return frozenset(number for number, _ in self.uses)

    @property
    def copies(self) -> int:
        """As they come out of autograd or vmap, and those of several uses."""
        return 1 + 2 * (len(self.uses) > 1)

    def terms(self, gathered: Gathered, method: Method, out: Term | None) -> Iterator[tuple[Unit, Term]]:
        """The sum."""
        del method, out
        rows = _added(gathered, self.uses)
        yield self.unit, Gradients(rows if self.scale == 1 else rows * self.scale)


def _added(gathered: Gathered, uses: Sequence[Use]) -> Float[Tensor, "r k p"]:
    rows = gathered.written(uses[0])
    for use in uses[1:]:
        rows = rows + gathered.written(use)
    return rows


@dataclass(frozen=True)
class TableGroup(Group):
    """One table that is looked up and that also multiplies, as tied embeddings do.

    An entry (s, v) of the gradient in the product adds to row v of the table, as a lookup of v at s does. Held as such
    ("factors") where few entries are other than 0, up to `entries` per sample; or written out, always if that is None.
    """

    unit: Unit
    rows: RowsGroup
    lookups: tuple[int, ...]
    products: tuple[int, ...]
    width: int
    positions: int
    entries: int | None = None

    def reason(self, sites: Sequence[Site]) -> str | None:
        """The sizes decide if the entries are known."""
        return self.rows.reason(sites) if self.entries is None else None

    @property
    def shapes(self) -> Mapping[Unit, Shape]:
        """A table that is looked up at every position and entry."""
        if self.entries is None:  # a vector whose numbers are those of a table
            table = Shape("vector", 1, self.rows.size // self.width, self.width, 1, self.rows.size)
            return {self.unit: table}
        places = self.positions + self.entries
        return {self.unit: Shape("lookup", places, self.rows.size // self.width, self.width, 1, self.rows.size)}

    @property
    def sites(self) -> frozenset[int]:
        """Of all uses."""
        return self.rows.sites

    @property
    def copies(self) -> int:
        """Those of several uses."""
        return self.rows.copies

    def terms(self, gathered: Gathered, method: Method, out: Term | None) -> Iterator[tuple[Unit, Term]]:
        """Lookups of all calls, or rows. Raises ManyEntriesError where a sample has more entries than are held."""
        if method == "gradients" or self.entries is None:
            yield from self.rows.terms(gathered, method, out)
            return
        terms: list[Lookups] = []
        for number in self.lookups:
            call, grad = gathered.call(number)
            term = call.term("factors", grad, weight=True, bias=False)
            assert isinstance(term, Lookups)
            terms.append(term)
        found = [entries_of(*gathered.call(number)) for number in self.products]
        terms.append(_padded([torch.cat(parts) for parts in zip(*found, strict=True)], len(terms[0]), self))
        merged = Lookups.merged(terms)
        yield self.unit, Lookups(merged.indices, merged.outputs * self.rows.scale) if self.rows.scale != 1 else merged

    def counted(self, gathered: Gathered) -> TableGroup:
        """The group with as many entries as the samples of a forward pass have."""
        found = [entries_of(*gathered.call(number))[0] for number in self.products]
        return replace(self, entries=int(torch.cat(found).bincount().max()) if torch.cat(found).numel() else 0)


class ManyEntriesError(Exception):
    """A sample has more entries other than 0 than the first samples had; `unit` is the table's."""

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        self.unit = unit


def entries_of(
    call: Call, grad: Float[Tensor, "n k ..."]
) -> tuple[Int[Tensor, " e"], Int[Tensor, " e"], Float[Tensor, "e k d"]]:
    """Of a product: where its gradient is not 0, the sample, the row of the weight, and the gradients in that row."""
    assert isinstance(call, Linear)
    g = call.positions_of_output(grad)[:, :, 0]
    sample, place, row = (g != 0).any(dim=1).nonzero().unbind(1)
    a = call.positions_of_input(slice(0, len(g)), bias=False)[:, 0]
    return sample, row, g[sample, :, place, row][:, :, None] * a[sample, place][:, None]


def _padded(entries: Sequence[Tensor], n: int, group: TableGroup) -> Lookups:
    """Entries of n samples, as many for each."""
    sample, row, values = entries
    order = sample.argsort(stable=True)
    sample, row, values = sample[order], row[order], values[order]
    counts = torch.bincount(sample, minlength=n)
    assert group.entries is not None
    if int(counts.max()) > group.entries:
        raise ManyEntriesError(group.unit)
    rank = torch.arange(len(sample), device=sample.device) - (counts.cumsum(0) - counts)[sample]
    indices = sample.new_full((n, group.entries), -1)
    outputs = values.new_zeros(n, values.shape[1], group.entries, values.shape[2])
    indices[sample, rank] = row
    outputs[sample, :, rank] = values
    return Lookups(indices, outputs)


@dataclass(frozen=True)
class PulledGroup(Group):
    """Parameters, and the operands that are made of them; each operand by its uses."""

    sizes: Mapping[str, int]
    operands: tuple[tuple[Use, ...], ...]
    parameters: Mapping[str, Tensor]

    @property
    def shapes(self) -> Mapping[Unit, Shape]:
        """One vector per parameter."""
        return {
            Unit(layer_of(name), name, None): Shape("vector", 1, 1, size, 1, size) for name, size in self.sizes.items()
        }

    @property
    def sites(self) -> frozenset[int]:
        """Of all uses."""
        return frozenset(number for uses in self.operands for number, _ in uses)

    @property
    def copies(self) -> int:
        """In the operand, in its parameters, and their sum."""
        return 3

    def terms(self, gathered: Gathered, method: Method, out: Term | None) -> Iterator[tuple[Unit, Term]]:
        """The gradients in the operands, times the derivative of these in the parameters."""
        del method, out
        totals: dict[str, Tensor] = {}
        for uses in self.operands:
            rows = _added(gathered, uses)
            number, operand = uses[0]
            source = gathered.recorded[number].sources[operand]
            for name, value in self._pulled(source, rows).items():
                totals[name] = totals[name] + value if name in totals else value
        for unit in self.shapes:
            assert unit.weight is not None
            yield unit, Gradients(totals[unit.weight])

    def _pulled(self, source: Tensor, rows: Float[Tensor, "r k p"]) -> dict[str, Tensor]:
        leaves = parents(source, self.parameters)
        if source.grad_fn is None:
            return dict.fromkeys(leaves, rows)
        flat = rows.flatten(0, 1).view(-1, *source.shape).to(source.dtype)
        try:
            found = torch.autograd.grad(source, list(leaves.values()), flat, retain_graph=True, is_grads_batched=True)
        except RuntimeError:  # an operation whose gradient has no vmap
            each = [torch.autograd.grad(source, list(leaves.values()), row, retain_graph=True) for row in flat]
            found = tuple(torch.stack(parts) for parts in zip(*each, strict=True))
        return {
            name: as_real(grad).reshape(*rows.shape[:2], -1).to(rows.dtype)
            for name, grad in zip(leaves, found, strict=True)
        }


def parents(source: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The trained parameters that an operand is made of."""
    names = {id(value): name for name, value in parameters.items()}
    if id(source) in names:
        return {names[id(source)]: source}
    found: dict[str, Tensor] = {}
    nodes: list[Any] = [source.grad_fn]
    seen: set[Any] = set()
    while nodes:
        for child, _ in nodes.pop().next_functions:
            if child is None or child in seen:
                continue
            seen.add(child)
            nodes.append(child)
            leaf = getattr(child, "variable", None)
            if leaf is not None and id(leaf) in names:
                found[names[id(leaf)]] = leaf
    return found
