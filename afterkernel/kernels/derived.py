"""Kernels that are functions of another kernel, such as a centred one, computed tile by tile by the same engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels.layout import try_again
from afterkernel.kernels.machine import batch_sizes
from afterkernel.kernels.plan import LayerPlan
from afterkernel.kernels.precision import exact_products
from afterkernel.kernels.protocols import Embedding
from afterkernel.kernels.samples import Batch
from afterkernel.kernels.terms import Block, Term
from afterkernel.types import Float, Tensor

# Numbers that are written out at once, to form a mean or to multiply with it.
MEAN_NUMBERS = 1 << 22
# float64 arrays of the size of a tile that are held while it is computed.
TEMPORARIES = 4

# k'(x, y) from k(x, y) and the statistics of x and of y, whose shapes broadcast: (n, m), (n, 1) and (1, m).
Combine = Callable[[Tensor, Tensor, Tensor], Tensor]


class MeanProducts:
    """The statistic <phi(x), m> of samples, m the mean of phi over `images`; float64. `square` is |m|^2.

    m is formed when it is first needed, by one pass over the images that writes their embeddings out.
    """

    def __init__(self, phi: Embedding, images: Tensor) -> None:
        self.phi, self.images = phi, images
        self._mean: Tensor | None = None
        self._layout: object = None

    def __call__(self, x: Batch, block: Block) -> Float[Tensor, " n"]:
        """The products of samples x, whose embeddings are `block`."""
        mean = self._formed()
        return torch.cat([rows.double() @ mean for rows in _written_out(block, len(mean))])

    @property
    def square(self) -> float:
        """The squared length of the mean."""
        mean = self._formed()
        return float(mean @ mean)

    def _formed(self) -> Float[Tensor, " p"]:
        # numbers are written out in an order that belongs to one layout of the network
        if self._mean is None or self._layout is not getattr(self.phi, "layout", None):
            self._mean = try_again(self._form)
            self._layout = getattr(self.phi, "layout", None)
        return self._mean

    def _form(self) -> Float[Tensor, " p"]:
        with exact_products():
            numbers = self.phi.block(self.images[:1]).embeddings().shape[1]
            total = torch.zeros(numbers, dtype=torch.float64, device=self.phi.device)
            for part in torch.split(self.images, max(1, MEAN_NUMBERS // numbers)):
                total += self.phi.block(part).embeddings().sum(0, dtype=torch.float64)
        return total / len(self.images)


def _written_out(block: Block, numbers: int) -> Iterator[Float[Tensor, "r p"]]:
    at_once = max(1, MEAN_NUMBERS // numbers)
    for start in range(0, len(block), at_once):
        yield block[slice(start, start + at_once)].embeddings()


@dataclass(frozen=True)
class DerivedTerm(Term):
    """Samples of another kernel with a statistic (n,), or several (n, s), of each in float64."""

    base: Block
    statistics: Float[Tensor, "n ..."]
    combine: Combine

    def __len__(self) -> int:
        return len(self.statistics)

    def __getitem__(self, part: slice) -> DerivedTerm:
        return replace(self, base=self.base[part], statistics=self.statistics[part])

    def empty_like(self, n: int) -> DerivedTerm:
        """An uninitialised term for n samples."""
        statistics = self.statistics.new_empty(n, *self.statistics.shape[1:])
        return replace(self, base=self.base.empty_like(n), statistics=statistics)

    def put(self, start: int, other: Term) -> None:
        """Write the samples of another term from `start` on."""
        assert isinstance(other, DerivedTerm)
        if other is not self:
            self.base.put(start, other.base)
            self.statistics[start : start + len(other)] = other.statistics

    @property
    def dtype(self) -> torch.dtype:
        """The type of the other kernel's numbers."""
        return next(iter(self.base.layers.values()))[0].dtype

    @property
    def bytes(self) -> int:
        """Memory of the term."""
        return self.base.bytes + self.statistics.nbytes

    def to(self, dtype: torch.dtype) -> DerivedTerm:
        """The term with the other kernel's numbers in another data type."""
        return replace(self, base=self.base.to(dtype))

    def magnitudes(self) -> Float[Tensor, "fields n"]:
        """The length of each embedding of the other kernel."""
        return self.base.paired_products(self.base).clamp(min=0).sqrt()[None]

    def add_products(self, other: Term, out: Float[Tensor, "n m"]) -> None:
        """The combination of all pairs, in float64."""
        assert isinstance(other, DerivedTerm)
        products = torch.zeros_like(out)
        self.base.add_products(other.base, products)
        out += self.combine(products.double(), self.statistics.unsqueeze(1), other.statistics.unsqueeze(0))

    def paired_products(self, other: Term) -> Float[Tensor, " n"]:
        """The combination of each pair."""
        assert isinstance(other, DerivedTerm)
        return self.combine(self.base.paired_products(other.base), self.statistics, other.statistics)

    def gradients(self) -> Float[Tensor, "n k p"]:
        """Raises UserError: a function of a kernel need not have an embedding that could be written out."""
        raise UserError("a kernel that is derived from another one has no embedding that could be written out.")

    @classmethod
    def merged(cls, terms: Sequence[DerivedTerm]) -> DerivedTerm:
        """Returns the only term."""
        (term,) = terms
        return term

    def outputs_joined(self) -> DerivedTerm:
        """Returns itself: it has one output."""
        return self


class DerivedEmbedding:
    """The kernel `combine(k(x, y), s(x), s(y))`, k that of `phi` and s = `statistics(x, phi(x))`; phi has one output.

    Gram matrices and invariances are all those of the combined kernel. `combine` is given float64 tensors that
    broadcast: k (n, m), s(x) (n, 1) and s(y) (1, m), with one more dimension where there are several statistics. `name`
    tells the kernel apart from others of the same network. A centred kernel, by the mean over the training images:

        mean = MeanProducts(phi, images)
        DerivedEmbedding("centred", phi, mean, lambda k, x, y: k - x - y + mean.square)
    """

    outputs = 1

    def __init__(
        self, name: str, phi: Embedding, statistics: Callable[[Batch, Block], Tensor], combine: Combine
    ) -> None:
        self.name, self.phi, self.statistics, self.combine = name, phi, statistics, combine
        self.model: nn.Module = phi.model
        self.dtype: torch.dtype = phi.dtype
        self.device: torch.device = phi.device

    @property
    def identity(self) -> Mapping[str, object]:
        """Which kernel, and what it is derived from."""
        return {**self.phi.identity, "derived": self.name}

    @property
    def work_bytes(self) -> int:
        """What computing a batch, and combining a tile, takes apart from the embeddings."""
        sizes = batch_sizes(self.device)
        return self.phi.work_bytes + 8 * TEMPORARIES * sizes.columns * sizes.rows + 12 * MEAN_NUMBERS

    @property
    def samples_at_once(self) -> int:
        """Samples of one batch."""
        return self.phi.samples_at_once

    def limit_work(self, budget_bytes: int) -> None:
        """Bound the work of the other kernel, if it has such a bound."""
        if hasattr(self.phi, "limit_work"):
            self.phi.limit_work(budget_bytes)

    def plan_layers(self, x: Batch, *, paired: bool = False) -> Sequence[LayerPlan]:
        """The plan of the other kernel: combining costs little in comparison."""
        return self.phi.plan_layers(x, paired=paired)

    def block(self, x: Batch, out: Block | None = None, rows: Sequence[int] | None = None) -> Block:
        """The samples with their statistics, or only those of `rows`."""
        base = self.phi.block(x, rows=rows)
        statistics = self.statistics(x if rows is None else x[list(rows)], base).to(self.device, torch.float64)
        block = Block({self.name: (DerivedTerm(base, statistics, self.combine),)})
        if out is None:
            return block
        out.put(0, block)
        return out

    def __call__(self, x: Batch) -> Float[Tensor, "n p"]:
        """Raises UserError: such a kernel has no embedding that could be written out."""
        return self.block(x).embeddings()
