"""Sites: the calls of a forward pass in which samples meet parameters, and the gradients of single samples there.

What is computed of parameters alone (a transposed or normalised weight, a part of one) is on the parameter side. A call
that has both the samples and that side among its operands or results is a site. In it, the operands of the parameter
side are replaced by leaves of autograd's graph, and one backward pass through the samples' side gives what
the gradient of each sample in these operands is made of. There are three kinds:

    layer    a function in `LAYERS`: from its input and the gradient in its result (see `contract`).
    expand   each operand is expanded along the axis of the samples before the call, so that its gradient comes out of
             the backward pass sample by sample; taken where that changes no bit of the result.
    local    the call alone is run and differentiated again, for each sample: by vmap, or one by one where that fails.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.autograd.graph import get_gradient_edge
from torch.func import vjp, vmap
from torch.utils._pytree import TreeSpec, tree_leaves, tree_unflatten

from afterkernel.kernels.layers import Call
from afterkernel.kernels.numeric import as_real, dense, digits, real_numbers
from afterkernel.kernels.registry import LAYERS
from afterkernel.kernels.sample_axis import SampleAxis
from afterkernel.types import Float, Tensor

# Work space of a call that is differentiated for several samples at once.
LOCAL_BYTES = 1 << 26


@dataclass
class Arguments:
    """The arguments of a call, and their leaves in order with how they are put together."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    leaves: list[Any]
    spec: TreeSpec

    def replaced(self, values: Mapping[int, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments, with some leaves replaced."""
        leaves = [values.get(i, leaf) for i, leaf in enumerate(self.leaves)]
        args, kwargs = tree_unflatten(leaves, self.spec)
        return args, kwargs


@dataclass
class Recorded:
    """A site in one forward pass of n samples.

    `sources` are the operands of the parameter side with their own graphs, `leaves` what replaced them; `targets` are
    edges or tensors in which autograd gives the gradients that `rows` and `term` are made of, of the shapes `shapes`;
    `guarded` are tensors that must not change before, with their versions.
    """

    site: Site
    n: int
    sources: list[Tensor]
    leaves: list[Tensor]
    targets: list[Any]
    shapes: list[torch.Size]
    call: Call | None = None
    arguments: Arguments | None = None
    guarded: list[tuple[Tensor, int]] = field(default_factory=list)
    written: list[Tensor] | None = None

    @property
    def overwritten(self) -> bool:
        """Whether what the gradients are made of was changed in place afterwards."""
        return any(tensor._version != version for tensor, version in self.guarded)

    def by_sample(self, i: int, grad: Tensor) -> Float[Tensor, "n ..."]:
        """The gradient in target i with the samples as first dimension."""
        return self.site.targets[i].split(grad, self.n)

    def rows(
        self, operand: int, grads: Sequence[Float[Tensor, "r k ..."]], chosen: Sequence[int] | None, dtype: torch.dtype
    ) -> Float[Tensor, "r k p"]:
        """Gradients in the numbers of one source, from those in the targets, of all samples or only the `chosen`."""
        return self.site.rows(self, operand, grads, chosen, dtype)

    def of_rows(self, chosen: Sequence[int] | None, grad: Tensor, dtype: torch.dtype) -> tuple[Call, Tensor]:
        """The call of a layer and the gradient in its result in `dtype`, for only the `chosen` samples if given."""
        assert self.call is not None
        values = self.call.input if chosen is None else self.call.input[chosen]
        if values.is_floating_point():
            # Autocast makes a layer round its input: the gradient in its weight is made of the rounded numbers.
            values = values.to(min(values.dtype, grad.dtype, key=digits)).to(dtype)
        call = self.call if values is self.call.input else self.call.with_input(values)
        return call, grad if grad.is_complex() else grad.to(dtype)


class SiteFailedError(Exception):
    """A call that cannot be run for one sample by itself, such as one on offsets into the whole batch."""

    def __init__(self, recorded: Recorded) -> None:
        super().__init__()
        self.recorded = recorded


@dataclass
class Site(ABC):
    """A call in which samples meet the parameter side.

    `operands` are the places of the parameter side among the leaves of its arguments, `axes` those of the samples,
    `targets` where they are in each tensor whose gradient is taken.
    """

    function: Callable[..., Any]
    operands: tuple[int, ...]
    axes: Mapping[int, SampleAxis]
    targets: list[SampleAxis]

    @property
    def method(self) -> str | None:
        """How gradients of single samples are computed, in words; None for a layer."""
        return None

    @abstractmethod
    def run(self, given: Arguments, n: int) -> tuple[Any, Recorded]:
        """The result of the call, and what is recorded of it."""

    @abstractmethod
    def rows(
        self,
        recorded: Recorded,
        operand: int,
        grads: Sequence[Tensor],
        chosen: Sequence[int] | None,
        dtype: torch.dtype,
    ) -> Float[Tensor, "r k p"]:
        """See `Recorded.rows`."""

    def fits(self, given: Arguments, n: int) -> bool:
        """Whether the samples are where they were in the calls that this site was found in."""
        return all(axis.fits(given.leaves[i], n) for i, axis in self.axes.items())

    def _leaves(self, given: Arguments) -> dict[int, Tensor]:
        return {i: given.leaves[i].detach().requires_grad_() for i in self.operands}


@dataclass
class LayerSite(Site):
    """A call of a layer function; its operands are the weight, the bias, or both."""

    entered: SampleAxis = field(kw_only=True)
    roles: tuple[str, ...] = field(kw_only=True)

    def run(self, given: Arguments, n: int) -> tuple[Any, Recorded]:
        """The call on leaves."""
        call = LAYERS[self.function](*given.args, **given.kwargs)
        assert call is not None
        leaves = self._leaves(given)
        args, kwargs = given.replaced(leaves)
        result = self.function(*args, **kwargs)
        sources = [getattr(call, role) for role in self.roles]
        guarded = [(call.input, call.input._version)] if "weight" in self.roles else []
        call.input = call.input.detach()
        call.arrange(self.entered, n)
        edge, shape = get_gradient_edge(result), self.targets[0].split(result, n).shape
        recorded = Recorded(self, n, sources, list(leaves.values()), [edge], [shape], call)
        recorded.guarded = guarded
        return result, recorded

    def rows(
        self,
        recorded: Recorded,
        operand: int,
        grads: Sequence[Tensor],
        chosen: Sequence[int] | None,
        dtype: torch.dtype,
    ) -> Float[Tensor, "r k p"]:
        """Those of the layer, written out."""
        call, grad = recorded.of_rows(chosen, grads[0], dtype)
        weight = self.roles[operand] == "weight"
        (found,) = vars(call.term("gradients", grad, weight=weight, bias=not weight)).values()
        return call.in_weight_order(found) if weight else found


@dataclass
class ExpandSite(Site):
    """A call of any function that may be given its operands once per sample."""

    @property
    def method(self) -> str:
        """How the gradients are computed."""
        return "expanded over the samples"

    def run(self, given: Arguments, n: int) -> tuple[Any, Recorded]:
        """The call on expanded leaves."""
        leaves = {
            i: expanded(given.leaves[i], axis, n).requires_grad_()
            for i, axis in zip(self.operands, self.targets, strict=True)
        }
        args, kwargs = given.replaced(leaves)
        result = self.function(*args, **kwargs)
        sources, targets = [given.leaves[i] for i in self.operands], list(leaves.values())
        shapes = [axis.split(leaf, n).shape for axis, leaf in zip(self.targets, targets, strict=True)]
        return result, Recorded(self, n, sources, [], targets, shapes)

    def rows(
        self,
        recorded: Recorded,
        operand: int,
        grads: Sequence[Tensor],
        chosen: Sequence[int] | None,
        dtype: torch.dtype,
    ) -> Float[Tensor, "r k p"]:
        """Those that autograd gives, summed over the rows of a sample."""
        del recorded, chosen
        grad = grads[operand]
        if self.targets[operand].rows > 1:
            grad = grad.sum(dim=2)
        return as_real(grad).flatten(2).to(dtype)


def expanded(value: Tensor, axis: SampleAxis, n: int) -> Tensor:
    """An operand, detached, with its numbers once per row of each sample along the axis, all in the same memory."""
    rank = len(axis.others) + 1
    padded = value.detach()[(None,) * (rank - value.ndim)]
    return padded.expand(*padded.shape[: axis.axis], n * axis.rows, *padded.shape[axis.axis + 1 :])


@dataclass
class LocalSite(Site):
    """A call of any function, differentiated for each sample by itself.

    `results` are the places of the targets among the leaves of its result; `counts` the leaves that are numbers
    proportional to the samples, with their share of one sample. `keeps_copies` says that operands of the samples are
    changed in place afterwards.
    """

    results: tuple[int, ...] = field(kw_only=True)
    counts: Mapping[int, Any] = field(kw_only=True)
    keeps_copies: bool = field(default=False, init=False)
    one_by_one: bool = field(default=False, init=False)

    def run(self, given: Arguments, n: int) -> tuple[Any, Recorded]:
        """The call on leaves."""
        kept = list(given.leaves)
        guarded = []
        for i in self.axes:
            if self.keeps_copies:
                kept[i] = kept[i].detach().clone()
            else:
                guarded.append((kept[i], kept[i]._version))
                kept[i] = kept[i].detach()
        leaves = self._leaves(given)
        args, kwargs = given.replaced(leaves)
        result = self.function(*args, **kwargs)
        found = tree_leaves(result)
        tensors = [found[i] for i in self.results]
        shapes = [axis.split(part, n).shape for axis, part in zip(self.targets, tensors, strict=True)]
        edges = [get_gradient_edge(part) for part in tensors]
        sources = [given.leaves[i] for i in self.operands]
        again = Arguments((), {}, kept, given.spec)
        recorded = Recorded(self, n, sources, list(leaves.values()), edges, shapes, None, again)
        recorded.guarded = guarded if not writes(self.function) else []
        return result, recorded

    def rows(
        self,
        recorded: Recorded,
        operand: int,
        grads: Sequence[Tensor],
        chosen: Sequence[int] | None,
        dtype: torch.dtype,
    ) -> Float[Tensor, "r k p"]:
        """Products of the call's Jacobian with the gradients in its results."""
        if recorded.written is None:
            try:
                recorded.written = self._all_rows(recorded, grads, chosen, dtype)
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                raise SiteFailedError(recorded) from error
        return recorded.written[operand]

    @property
    def method(self) -> str:
        """How the gradients are computed."""
        return (
            "differentiated by itself, one sample at a time" if self.one_by_one else "differentiated by itself, by vmap"
        )

    def _all_rows(
        self, recorded: Recorded, grads: Sequence[Tensor], chosen: Sequence[int] | None, dtype: torch.dtype
    ) -> list[Float[Tensor, "r k p"]]:
        """The gradients in all operands, a few samples at a time."""
        given = recorded.arguments
        assert given is not None
        samples = [axis.in_place(axis.split(given.leaves[i], recorded.n)) for i, axis in self.axes.items()]
        if chosen is not None:
            samples = [value[chosen] for value in samples]
        pulled = [axis.in_place(grad, 2) for axis, grad in zip(self.targets, grads, strict=True)]
        n, k = pulled[0].shape[:2]
        sizes = [real_numbers(source) for source in recorded.sources]
        rows = [torch.empty(n, k, size, dtype=dtype, device=pulled[0].device) for size in sizes]
        numbers = k * sum(sizes) + sum(value[0].numel() for value in (*samples, *pulled))
        at_once = max(1, LOCAL_BYTES // (4 * numbers * dtype.itemsize))
        for start in range(0, n, at_once):
            part = slice(start, start + at_once)
            found = self._products(recorded, [v[part] for v in samples], [v[part] for v in pulled])
            for row, value in zip(rows, found, strict=True):
                row[part] = value
        return rows

    def _products(
        self, recorded: Recorded, samples: Sequence[Tensor], pulled: Sequence[Tensor]
    ) -> Sequence[Float[Tensor, "r k p"]]:
        sources = [source.detach() for source in recorded.sources]

        def of_one(values: Sequence[Tensor], cotangents: Sequence[Tensor]) -> tuple[Float[Tensor, "k p"], ...]:
            pull = vjp(lambda *weights: self._results(recorded, weights, values), *sources)[1]
            return vmap(lambda one: tuple(as_real(grad).flatten() for grad in pull(one)))(tuple(cotangents))

        if not self.one_by_one:
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
                    return vmap(of_one)(samples, pulled)
            except (RuntimeError, ValueError):
                self.one_by_one = True  # an operation without a rule for vmap, such as a recurrent layer
        found = []
        for i in range(len(pulled[0])):
            with torch.enable_grad():
                weights = [source.clone().requires_grad_() for source in sources]
                results = self._results(recorded, weights, [value[i] for value in samples])
            each = [
                torch.autograd.grad(
                    results, weights, [grad[i, j] for grad in pulled], retain_graph=True, materialize_grads=True
                )
                for j in range(pulled[0].shape[1])
            ]
            found.append(
                [torch.stack([as_real(dense(g)).flatten() for g in column]) for column in zip(*each, strict=True)]
            )
        return [torch.stack(column) for column in zip(*found, strict=True)]

    def _results(self, recorded: Recorded, weights: Sequence[Tensor], values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The targets for one sample, with the operands replaced."""
        given = recorded.arguments
        assert given is not None
        mine = dict(zip(self.axes, values, strict=True))
        if writes(self.function):
            mine = {i: value.clone() for i, value in mine.items()}
        args, kwargs = given.replaced({**self.counts, **mine, **dict(zip(self.operands, weights, strict=True))})
        found = tree_leaves(self.function(*args, **kwargs))
        return tuple(found[i] for i in self.results)


def writes(function: Callable[..., Any]) -> bool:
    """Whether a function changes its operands, by its name."""
    name = getattr(function, "__name__", "")
    return (name.endswith("_") and not name.endswith("__")) or (name.startswith("__i") and name.endswith("__"))
