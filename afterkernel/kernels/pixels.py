"""Kernels that are functions of pixels, evaluated tile by tile by the same engine as those of networks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels.machine import batch_sizes
from afterkernel.kernels.plan import Cost, LayerPlan
from afterkernel.kernels.precision import exact_products, precision
from afterkernel.kernels.samples import Batch, Samples
from afterkernel.kernels.terms import Block, Term
from afterkernel.types import Float, Tensor

LAYER = "pixels"
# Training images from which the median distance is taken, at most, and the seed of their choice.
MEDIAN_IMAGES, MEDIAN_SEED = 1000, 0
# Rows of a tile whose values are computed together, and float64 arrays of that size that a function holds at a time.
STRIP, TEMPORARIES = 64, 10


@runtime_checkable
class KernelFunction(Protocol):
    """A kernel as a function of two sets of vectors."""

    @property
    def identity(self) -> Mapping[str, object]:
        """Its name and what it depends on."""
        ...

    def __call__(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """All pairs."""
        ...

    def paired(self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """k(x_i, y_i)."""
        ...


@dataclass(frozen=True)
class LinearFunction:
    """k(x, y) = <x, y>."""

    @property
    def identity(self) -> Mapping[str, object]:
        """Its name."""
        return {"kernel": "linear"}

    def __call__(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """All pairs."""
        return x @ y.T

    def paired(self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """k(x_i, y_i)."""
        return (x * y).sum(dim=1)


@dataclass(frozen=True)
class GaussianFunction:
    """k(x, y) = exp(-|x - y|^2 / (2 s^2)) with the bandwidth s."""

    bandwidth: float

    @property
    def identity(self) -> Mapping[str, object]:
        """Its name and bandwidth."""
        return {"kernel": "rbf", "bandwidth": self.bandwidth}

    def __call__(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """All pairs."""
        squares = (x * x).sum(dim=1, keepdim=True) + (y * y).sum(dim=1) - 2 * (x @ y.T)
        found: Tensor = torch.exp(-squares.clamp_min(0) / (2 * self.bandwidth**2))
        return found

    def paired(self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """k(x_i, y_i)."""
        found: Tensor = torch.exp(-((x - y) ** 2).sum(dim=1) / (2 * self.bandwidth**2))
        return found


def median_distance(images: Tensor) -> float:
    """The median distance between images, of at most 1,000 of them. Raises UserError if it is zero."""
    generator = torch.Generator().manual_seed(MEDIAN_SEED)
    chosen = torch.randperm(len(images), generator=generator)[:MEDIAN_IMAGES]
    distances = torch.pdist(images[chosen.to(images.device)].flatten(1).double())
    median = float(distances.median()) if len(distances) else 0.0
    if median == 0:
        raise UserError("kernel.names=[rbf]: half of the training images are equal, so their median distance is 0.")
    return median


@dataclass(frozen=True)
class FunctionTerm(Term):
    """Samples as vectors, whose products are values of a kernel function. Computed in float64, held in less."""

    rows: Float[Tensor, "n d"]
    function: KernelFunction

    def _tensors(self) -> list[Tensor]:
        return [self.rows]

    def __getitem__(self, part: slice) -> FunctionTerm:
        return replace(self, rows=self.rows[part])

    def empty_like(self, n: int) -> FunctionTerm:
        """An uninitialised term for n samples."""
        return replace(self, rows=self.rows.new_empty(n, self.rows.shape[1]))

    def to(self, dtype: torch.dtype) -> FunctionTerm:
        """The term with its vectors in another data type."""
        return replace(self, rows=self.rows.to(dtype))

    def add_products(self, other: Term, out: Float[Tensor, "nk mk"]) -> None:
        """The function of all pairs, a strip at a time."""
        assert isinstance(other, FunctionTerm)
        others = other.rows.double()
        for start in range(0, len(self), STRIP):
            part = slice(start, start + STRIP)
            out[part] += self.function(self.rows[part].double(), others)

    def paired_products(self, other: Term) -> Float[Tensor, " n"]:
        """The function of each pair."""
        assert isinstance(other, FunctionTerm)
        return self.function.paired(self.rows.double(), other.rows.double())

    def gradients(self) -> Float[Tensor, "n k p"]:
        """Raises UserError: the embedding of such a kernel may have infinite dimension."""
        raise UserError(f"kernel={self.function.identity['kernel']} has no embedding that could be written out.")

    @classmethod
    def merged(cls, terms: Sequence[FunctionTerm]) -> FunctionTerm:
        """Returns the only term."""
        (term,) = terms
        return term

    def outputs_joined(self) -> FunctionTerm:
        """Returns itself: it has one output."""
        return self


class PixelEmbedding:
    """The embedding of a kernel function of pixels; `model` is only carried along."""

    outputs = 1
    samples_at_once = 1024

    def __init__(
        self, model: nn.Module, function: KernelFunction, dtype: torch.dtype | str, device: torch.device
    ) -> None:
        self.model, self.function, self.device = model, function, device
        self.dtype: torch.dtype = precision(dtype).dtype
        self.work_bytes = 8 * TEMPORARIES * STRIP * batch_sizes(device).rows

    @property
    def identity(self) -> Mapping[str, object]:
        """Which kernel, and what it depends on."""
        return self.function.identity

    def plan_layers(self, x: Batch, *, paired: bool = False) -> Sequence[LayerPlan]:
        """One layer: the pixels."""
        size = _pixels(x)[:1].numel()
        digest = hashlib.sha256(str(self.identity).encode()).hexdigest()[:8]
        return [LayerPlan(LAYER, Cost("gradients", size, size, size, size), f"pixels ({digest})")]

    def block(self, x: Batch, out: Block | None = None, rows: Sequence[int] | None = None) -> Block:
        """The pixels, or only those of `rows`."""
        pixels = _pixels(x if rows is None else x[list(rows)]).detach().flatten(1).to(self.device, self.dtype)
        block = Block({LAYER: (FunctionTerm(pixels, self.function),)})
        if out is None:
            return block
        out.put(0, block)
        return out

    def __call__(self, x: Batch) -> Float[Tensor, "n p"]:
        """Raises UserError for kernels whose embedding can't be written out."""
        with exact_products():
            return self.block(x).embeddings()


def _pixels(x: Batch) -> Tensor:
    """Raises UserError for samples that are no tensor of pixels."""
    if isinstance(x, Samples):
        raise UserError("a kernel of pixels is a function of images: give them as one tensor (n, c, h, w).")
    return x
