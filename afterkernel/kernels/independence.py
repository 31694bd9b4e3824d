"""Checks, during the computation, that the embedding of a sample does not depend on the other samples of its batch.

Randomly chosen samples of the batches that are computed anyway are collected again, in other company and alone. Their
gradients must agree as vectors, layer by layer, and so must their outputs. Float32 rounds differently in batches of
different sizes, so a difference counts only if it is there in float64 too. What such a check can miss, and how often,
is stated in docs/kernels.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from afterkernel.errors import UserError
from afterkernel.kernels.layout import try_again
from afterkernel.kernels.plan import CHECKED_SHARE, DEFAULT_BUDGET_BYTES, WORK_SHARE, LayerPlan
from afterkernel.kernels.protocols import Embedding
from afterkernel.kernels.samples import Batch, magnitudes
from afterkernel.kernels.terms import Block, Gradients
from afterkernel.kernels.verify import difference_of
from afterkernel.types import Float, Int, Tensor

# One sample of this many is checked, but at least so many in all.
ONE_IN = 40
AT_LEAST = 8
# Up to so many samples, all of them are collected alone too; of more, one per call.
ALL_ALONE = 16
# Samples that are collected again in one batch: from this number on float32 was seen to round as in larger batches.
# Of few samples, which a tight budget gives, at most the share that the plan leaves room for.
GROUP = 8
# Differences relative to the length of a gradient, or to the largest output, that need a second look. In float32 a
# sample alone differs by 1e-6 from rounding, but by up to 1e-2 where a ReLU switches; in larger batches by nothing.
SUSPICIOUS = {torch.float64: 1e-6, torch.float32: 1e-4}
COARSE = 1e-2
# On devices that add up in any order, a batch computed again may differ by so much.
ANY_ORDER = 5e-2
# How often a group of samples, and the batch that it is compared with, are computed again on suspicion.
GROUP_REPEATS, BATCH_REPEATS = 4, 2


class IndependenceChecked:
    """An embedding that checks some of the samples it embeds; in all else it is the embedding `inner`.

    If `inner` has an attribute `observe`, it must call it with the outputs (n, k) of every batch. `in_float64` makes
    the same embedding in float64; it is only called for a sample that looks wrong. The samples are chosen by a separate
    random generator with a fixed seed. Raises UserError where a sample's gradient or output depends on its batch, or
    differs when the same batch is computed again.
    """

    def __init__(self, inner: Embedding, in_float64: Callable[[], Embedding]) -> None:
        self.inner, self.in_float64 = inner, in_float64
        self._generator = torch.Generator().manual_seed(0)
        self._credit, self._checked = 0.0, 0
        self.budget_bytes = DEFAULT_BUDGET_BYTES

    @property
    def model(self) -> nn.Module:
        """The working copy of the network."""
        return self.inner.model

    @property
    def dtype(self) -> torch.dtype:
        """Of the embedding's numbers."""
        return self.inner.dtype

    @property
    def device(self) -> torch.device:
        """Where the embedding is computed."""
        return self.inner.device

    @property
    def outputs(self) -> int:
        """Rows of the Gram matrix per sample."""
        return self.inner.outputs

    @property
    def identity(self) -> Mapping[str, object]:
        """What the embedding depends on, apart from weights and samples."""
        return self.inner.identity

    @property
    def work_bytes(self) -> int:
        """What computing a batch takes apart from the embeddings."""
        return self.inner.work_bytes

    @property
    def samples_at_once(self) -> int:
        """Samples of one batch."""
        return self.inner.samples_at_once

    def plan_layers(self, x: Batch, *, paired: bool = False) -> Sequence[LayerPlan]:
        """Look at a few samples, and choose how each layer is held."""
        return self.inner.plan_layers(x, paired=paired)

    def limit_work(self, budget_bytes: int) -> None:
        """Bound `work_bytes` by its share of a budget, if `inner` has such a bound; a single sample may take more."""
        self.budget_bytes = budget_bytes
        if hasattr(self.inner, "work_limit"):
            self.inner.work_limit = budget_bytes // WORK_SHARE

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def block(self, x: Batch, out: Block | None = None, rows: Sequence[int] | None = None) -> Block:
        """The embeddings of samples x, written to `out` if given; some are checked. Of `rows` none is."""
        if rows is not None:
            return self.inner.block(x, rows=rows)
        chosen = self._choose(len(x))
        if not chosen:
            return self.inner.block(x, out)
        with _Outputs(self.inner) as outputs:
            block = self.inner.block(x, out)
        self._check(x, block, outputs.rows(chosen), chosen, self.inner.block)
        return block

    def __call__(self, x: Batch) -> Float[Tensor, "n p"]:
        """The embeddings written out as rows; some are checked."""

        def collect(part: Batch) -> Block:
            return Block({"": (Gradients(self.inner(part).unsqueeze(1)),)})

        chosen = self._choose(len(x))
        if not chosen:
            return self.inner(x)
        with _Outputs(self.inner) as outputs:
            rows = self.inner(x)
        block = Block({"": (Gradients(rows.unsqueeze(1)),)})
        self._check(x, block, outputs.rows(chosen), chosen, collect)
        return rows

    def _choose(self, n: int) -> list[int]:
        """The samples to check of n that are embedded together: of every batch, its edges included."""
        self._credit += n / ONE_IN
        missing = AT_LEAST - self._checked if n > 1 else 0
        count = min(n, max(int(self._credit), missing))
        if count < min(AT_LEAST, n) and missing <= 0:
            return []
        self._credit = max(0.0, self._credit - count)
        self._checked += count
        batches = _batches(n, max(1, self.samples_at_once))
        order = torch.randperm(len(batches), generator=self._generator).tolist()
        longest = max(batch.stop - batch.start for batch in batches)
        full = [batches[i] for i in order if batches[i].stop - batches[i].start == longest]
        # The first and the last place of a batch are where a network is most likely to treat a sample differently.
        chosen = dict.fromkeys([full[0].stop - 1, full[-1].start][:count])
        shuffled = {i: torch.randperm(batches[i].stop - batches[i].start, generator=self._generator) for i in order}
        turns = (
            batches[i].start + int(shuffled[i][turn])
            for turn in range(longest)
            for i in order
            if turn < len(shuffled[i])
        )
        for sample in turns:
            if len(chosen) >= count:
                break
            chosen.setdefault(sample)
        return list(chosen)

    @torch.inference_mode(False)
    @torch.no_grad()
    def _check(
        self,
        x: Batch,
        block: Block,
        outputs: Float[Tensor, "c k"] | None,
        chosen: list[int],
        collect: Callable[[Batch], Block],
    ) -> None:
        """Collect the chosen samples again in groups of similar ones, and one alone; compare with `block`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of these batches the user knows nothing
            index = torch.tensor(chosen)
            suspicions: list[_Suspicion] = []
            for places in self._groups(_rows(x, index), len(x)):
                samples = index[places]
                own = _Samples(
                    _rows_of(block, samples), None if outputs is None else outputs[places.to(outputs.device)]
                )
                difference = own.difference(self._collected(collect, _rows(x, samples), range(len(samples))))
                alone = len(samples) == 1 and len(x) > ALL_ALONE
                limit = max(self._suspicious, COARSE) if alone and self.dtype != torch.float64 else self._suspicious
                suspicions += [
                    _Suspicion(float(difference[i]), samples, i, own[i])
                    for i in (~(difference <= limit)).nonzero().flatten().tolist()
                ]
            # The worst first: it is the one that settles the matter soonest.
            for suspicion in sorted(suspicions, key=lambda found: -found.difference):
                self._confirm(x, suspicion, collect)

    def _groups(self, x: Batch, n: int) -> list[Int[Tensor, " g"]]:
        """Places of the chosen samples x of n in the batches to collect again: similar ones together, and some alone.

        What a batch of similar samples has in common, such as a maximum or a longest sequence, differs the most from
        what a mixed batch has. Batches that are too small to round like larger ones are filled up with copies.
        """
        count = len(x)
        alone = torch.randperm(count, generator=self._generator)
        if n <= ALL_ALONE:
            return list(torch.split(alone, 1))
        order = magnitudes(x).argsort()
        size = min(GROUP, n // CHECKED_SHARE)
        parts = order.tensor_split(max(min(2, count), count // size))
        groups = [part[torch.randperm(len(part), generator=self._generator)] for part in parts]
        return [*(group.repeat(-(-size // len(group)))[: max(size, len(group))] for group in groups), alone[:1]]

    @property
    def _suspicious(self) -> float:
        coarse = self.dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest"
        return COARSE if coarse else SUSPICIOUS.get(self.dtype, COARSE)

    def _confirm(self, x: Batch, suspicion: _Suspicion, collect: Callable[[Batch], Block]) -> None:
        """Raise UserError unless rounding explains the difference: in float64 there must be none."""
        sample = int(suspicion.group[suspicion.place])
        size = max(1, self.samples_at_once)
        batch = slice(sample // size * size, min(sample // size * size + size, len(x)))
        here, there = [sample - batch.start], [suspicion.place]
        company = _rows(x, suspicion.group)
        self._repeat(collect, x[batch], here, suspicion.own, BATCH_REPEATS)
        self._repeat(collect, company, there, self._collected(collect, company, there), GROUP_REPEATS)
        phi = self._most_precise(company, len(x[batch]))
        with _CoarsestType() as coarsest:
            own = self._collected(phi.block, x[batch], here)
            difference = float(own.difference(self._collected(phi.block, company, there)))
        limit = SUSPICIOUS.get(coarsest.dtype, COARSE)
        if coarsest.dtype != torch.float64:
            # The model itself rounds more coarsely. That depends on the size of a batch, so the sample must agree in
            # one of its own batch's size, and nearly so in the group.
            many = torch.arange(batch.stop - batch.start).roll(suspicion.place) % len(company)
            place = int((many == suspicion.place).nonzero()[0]) if suspicion.place in many else None
            if place is not None and difference <= COARSE:
                difference = float(own.difference(self._collected(phi.block, _rows(company, many), [place])))
        if not difference <= limit:
            raise UserError(
                "the model's gradient or output for a sample depends on the other samples of its batch (in another "
                f"batch it differs by {difference:.2g} of its length), so the model has no kernel of single samples: "
                "make the forward pass work sample by sample."
            )

    def _repeat(
        self, collect: Callable[[Batch], Block], x: Batch, place: list[int], expected: _Samples, times: int
    ) -> None:
        """Raise UserError where the same batch does not always give the same."""
        limit = self._suspicious if self.device.type == "cpu" else ANY_ORDER
        for _ in range(times):
            change = float(expected.difference(self._collected(collect, x, place)))
            if not change <= limit:
                raise UserError(
                    f"the same batch gives other gradients when it is computed again (by {change:.2g} of their "
                    "length): the model is random even in evaluation mode, or keeps a state from batch to batch; make "
                    "its forward pass deterministic and without state."
                )

    def _most_precise(self, x: Batch, batch: int) -> Embedding:
        """The embedding in float64, in batches of that size, or as it is where the model insists on less."""
        if self.dtype == torch.float64:
            return self.inner
        try:
            phi: Any = self.in_float64()
            phi.plan_layers(x)
            try_again(lambda: phi.block(x))
            phi.samples_at_once = batch
        except (UserError, RuntimeError, TypeError):
            return self.inner
        found: Embedding = phi
        return found

    def _collected(self, collect: Callable[[Batch], Block], x: Batch, places: Sequence[int]) -> _Samples:
        """Embeddings and outputs of some samples of x, computed in one call."""
        phi = getattr(collect, "__self__", self.inner)

        def collected() -> _Samples:
            with _Outputs(phi) as outputs:
                if list(places) == list(range(len(x))):
                    found = collect(x)
                elif collect == getattr(phi, "block", None):  # a batch of embeddings may not fit the budget
                    found = phi.block(x, rows=places)
                else:
                    found = _rows_of(collect(x), torch.tensor(places))
            return _Samples(found, outputs.rows(places))

        return collected() if phi is self.inner else try_again(collected)


@dataclass(frozen=True)
class _Samples:
    """Embeddings of some samples and, if they are known, their outputs."""

    block: Block
    outputs: Float[Tensor, "n k"] | None

    def __getitem__(self, i: int) -> _Samples:
        return _Samples(_rows_of(self.block, torch.tensor([i])), None if self.outputs is None else self.outputs[[i]])

    def difference(self, other: _Samples) -> Float[Tensor, " n"]:
        """How far apart, as `difference_of` gives it; infinite where it is not a number."""
        return difference_of(self.block, other.block, self.outputs, other.outputs).nan_to_num(torch.inf)


@dataclass(frozen=True)
class _Suspicion:
    """A sample that came out differently: its place in the group that it was collected again with, and what it was."""

    difference: float
    group: Int[Tensor, " g"]
    place: int
    own: _Samples


class _Outputs:
    """Outputs of the batches that an embedding computes while this is entered, in their order."""

    def __init__(self, phi: Embedding) -> None:
        self._phi: Any = phi
        self._parts: list[Tensor] = []

    def __enter__(self) -> _Outputs:
        if hasattr(self._phi, "observe"):
            self._phi.observe = lambda outputs: self._parts.append(outputs.detach())
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self._phi, "observe"):
            self._phi.observe = None

    def rows(self, chosen: Sequence[int]) -> Float[Tensor, "c k"] | None:
        """The outputs of some samples; None if the embedding does not show its outputs."""
        return torch.cat(self._parts)[list(chosen)] if self._parts else None


class _CoarsestType(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The floating-point type of least precision that appears in the operations run while this is entered."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype = torch.float64

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and look at the types of its results."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.dtype != self.dtype:
                self.dtype = max(self.dtype, leaf.dtype, key=lambda kind: torch.finfo(kind).eps)
        return result


def _rows(x: Batch, index: Int[Tensor, " c"]) -> Batch:
    return x[index.to(x.device)]


def _rows_of(block: Block, index: Int[Tensor, " c"]) -> Block:
    """Copies of some samples' embeddings; of one sample no copy."""
    if len(index) == 1:
        return block[slice(int(index), int(index) + 1)]
    return Block(
        {
            name: tuple(
                type(term)(*(tensor[index.to(tensor.device)] for tensor in vars(term).values())) for term in terms
            )
            for name, terms in block.layers.items()
        }
    )


def _batches(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
