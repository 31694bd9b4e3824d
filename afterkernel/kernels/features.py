"""The embedding of the conjugate kernel: the input of one layer, by default of the last linear one."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from afterkernel.errors import PrecisionWarning, UserError
from afterkernel.kernels.last_layer import DataFlow, LastLayer, last_linear_layer
from afterkernel.kernels.machine import batch_sizes
from afterkernel.kernels.plan import Cost, LayerPlan
from afterkernel.kernels.precision import exact_products
from afterkernel.kernels.sample_axis import SampleAxis, find_sample_axis
from afterkernel.kernels.samples import Batch, placed
from afterkernel.kernels.terms import Block, Gradients
from afterkernel.kernels.verify import COARSE_TOLERANCE, TOLERANCE
from afterkernel.kernels.working_copy import WorkingCopy
from afterkernel.progress.work import log_once
from afterkernel.text import a_kind
from afterkernel.types import Float, Tensor

MOST_AT_ONCE = 256
# Results of operations that are held at the same time, at most, in units of the largest.
RESULTS_HELD = 4


@dataclass(frozen=True)
class _Features:
    """The layer chosen, with its input, and what the forward pass took."""

    layer: LastLayer
    coarsest: torch.dtype
    largest_bytes: int


class FeatureEmbedding:
    """phi(x) = the input of a layer, in evaluation mode, as one row per sample.

    `layer` names any module of the model, whose first tensor argument is meant; of several calls in one forward pass,
    that of the last. By default it is the linear layer that comes last on the way to the output (see `last_layer`).
    Raises UserError for a name that is not that of a module.
    """

    outputs = 1

    def __init__(self, model: nn.Module, dtype: torch.dtype, device: torch.device, layer: str | None = None) -> None:
        self.dtype, self.device = dtype, device
        self.requested = layer
        if layer is not None:
            _check_name(layer, model)
        self._copy = WorkingCopy(model, dtype, device)
        self.model: nn.Module = self._copy
        self._chosen: LastLayer | None = None
        self._axis: SampleAxis | None = None
        self.samples_at_once = 1
        self.work_bytes = 0

    @property
    def layer(self) -> str | None:
        """The name of the layer whose input is used; that of the default is known after the first samples."""
        return self._chosen.name if self._chosen is not None else self.requested

    @property
    def identity(self) -> Mapping[str, object]:
        """Which kernel, of which layer."""
        return {"kernel": "conjugate", "layer": self.layer}

    @property
    def description(self) -> str:
        """Which layer's input the features are, in words."""
        if self._chosen is None:
            return "the input of the last linear layer"
        chosen = self._chosen
        which = "" if self.requested is not None else ", the last linear layer"
        calls = f" (call {chosen.call} of {chosen.calls})" if chosen.calls > 1 else ""
        return f"the input of {chosen.name}{calls}{which}"

    def plan_layers(self, x: Batch, *, paired: bool = False) -> Sequence[LayerPlan]:
        """One layer: the features."""
        size = self._prepare(x)
        return [LayerPlan("features", Cost("gradients", size, size, size, size), self.description)]

    def block(self, x: Batch, out: Block | None = None, rows: Sequence[int] | None = None) -> Block:
        """The features as a block of one layer; of one batch x only those of `rows`, if given."""
        size = self._prepare(x)
        if rows is not None:
            return Block({"features": (Gradients(self._batch(x)[rows].unsqueeze(1)),)})
        block = out or Block(
            {"features": (Gradients(torch.empty(len(x), 1, size, dtype=self.dtype, device=self.device)),)}
        )
        for start in range(0, len(x), self.samples_at_once):
            part = slice(start, start + self.samples_at_once)
            block[part].put(0, Block({"features": (Gradients(self._batch(x[part]).unsqueeze(1)),)}))
        return block

    def __call__(self, x: Batch) -> Float[Tensor, "n p"]:
        """The features (n, p)."""
        with exact_products():
            return self.block(x).embeddings()

    @torch.inference_mode(False)
    @torch.no_grad()
    def _batch(self, x: Batch) -> Float[Tensor, "n p"]:
        if len(x) == 1:
            # torch multiplies the matrices of a single sample in other shapes.
            return self._batch(x[[0, 0]])[:1]
        found = self._forward(x).layer
        if self._chosen is None or self._axis is None or found.key != self._chosen.key:
            expected = self.description
            raise UserError(
                f"the features are {expected} for the first samples, and the input of {found.name} (call {found.call} "
                f"of {found.calls}) for others: a branch on the data changes which layers are called; choose one that "
                "is called for all samples alike by layer=."
            )
        if not self._axis.fits(found.input, len(x)):
            raise UserError(
                f"the input of {found.name} has the shape {tuple(found.input.shape)} for {len(x)} samples, which does "
                "not follow from that of the first samples: the features of a sample must have one shape."
            )
        return self._axis.by_sample(self._numbers(found.input), len(x))

    def _numbers(self, value: Tensor) -> Tensor:
        value = torch.view_as_real(value).flatten(-2) if value.is_complex() else value
        return value.to(self.dtype)

    def _place(self, x: Batch) -> Batch:
        here: Batch = tree_map(lambda leaf: placed(leaf, self.device, self.dtype), x)
        return here

    def _forward(self, x: Batch) -> _Features:
        """One forward pass; the layer's input is copied before the layer can change it."""
        x = self._place(x)
        with DataFlow(dict(self._copy.inner.named_parameters())) as flow:
            x = tree_map(flow.begin, x)
            if self.requested is None:
                layer = last_linear_layer(flow, self.model(x), self._copy.inner)
            else:
                with _observed(self._copy.inner, self.requested) as inputs:
                    self.model(x)
                if not inputs:
                    raise UserError(f"layer={self.requested!r} is not called in the forward pass, so it has no input.")
                layer = LastLayer(self.requested, len(inputs), len(inputs), inputs[-1])
        return _Features(layer, flow.coarsest, flow.largest)

    @torch.inference_mode(False)
    @torch.no_grad()
    def _prepare(self, x: Batch) -> int:
        """Choose the layer, find the samples in its input, and check that they do not depend on each other."""
        if self._chosen is not None and self._axis is not None:
            return math.prod(self._axis.others) * self._axis.rows
        probe = self._probe(x)
        with exact_products():
            self._check_model(probe)
            first = self._forward(probe)
            chosen = first.layer
            if not (chosen.input.is_floating_point() or chosen.input.is_complex()):
                raise UserError(f"the input of {chosen.name} is of {chosen.input.dtype}: features are numbers.")
            three = self._numbers(chosen.input)
            two = self._numbers(self._forward(probe[:2]).layer.input)
            axis = find_sample_axis(tuple(three.shape), tuple(two.shape))
            if axis is None:
                raise UserError(
                    f"the input of {chosen.name} has the shape {tuple(three.shape)} for 3 samples and "
                    f"{tuple(two.shape)} for 2, so it has no features of single samples: choose another layer by "
                    "layer=."
                )
            axis = self._arranged(axis, three, probe, chosen, first.coarsest)
        if chosen.input.dtype.itemsize < self.dtype.itemsize and not chosen.input.is_complex():
            warnings.warn(
                f"the model computes the input of {chosen.name} in {chosen.input.dtype} itself, although its "
                f"parameters are in {self.dtype}: the conjugate kernel has the rounding of {chosen.input.dtype}.",
                PrecisionWarning,
                stacklevel=2,
            )
        self._chosen, self._axis = replace(chosen, input=three[:0]), axis
        per_sample = max(1, RESULTS_HELD * first.largest_bytes // len(probe))
        self.samples_at_once = max(1, min(MOST_AT_ONCE, batch_sizes(self.device).activation_bytes // per_sample))
        self.work_bytes = self.samples_at_once * per_sample
        log_once(f"conjugate kernel: the features are {self.description}")
        return math.prod(axis.others) * axis.rows

    def _probe(self, x: Batch) -> Batch:
        """Three samples; where there are fewer, some are used more than once."""
        if len(x) == 0:
            raise UserError("a kernel needs at least one sample.")
        return x[[i % len(x) for i in range(3)]]

    def _check_model(self, probe: Batch) -> None:
        """Compare the working copy with the model, without gradients if it can be run so."""
        trained = [value for value in self._copy.inner.parameters() if value.requires_grad]
        for value in trained:
            value.requires_grad_(False)
        try:
            self._copy.check(self._place(probe))
        except UserError:
            for value in trained:  # the forward pass may differentiate in them
                value.requires_grad_(True)
            self._copy.check(self._place(probe))

    def _arranged(
        self, axis: SampleAxis, three: Tensor, probe: Batch, chosen: LastLayer, coarsest: torch.dtype
    ) -> SampleAxis:
        """The axis with the order of its rows, by which each sample is the same in a batch as by itself."""
        try:
            # In a batch of copies: torch multiplies the matrices of a single sample in other shapes.
            alone = [self._forward(probe[[i, i]]).layer for i in range(len(probe))]
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"the model can't be run on a sample alone, so its features depend on the batch: {reason}"
            ) from error
        if any(part.name != chosen.name or not axis.fits(part.input, 2) for part in alone):
            raise UserError(
                f"the model calls its layers differently for one sample than for three, where the features are the "
                f"input of {chosen.name}: choose a layer that is called for all samples alike by layer=."
            )
        options = [axis] if axis.rows == 1 else [axis, replace(axis, interleaved=True)]
        found = []
        for option in options:
            values = option.by_sample(three, 3)
            expected = torch.cat([option.by_sample(self._numbers(part.input), 2)[:1] for part in alone])
            found.append((_largest(values - expected), _largest(expected), values, expected, option))
        difference, scale, values, expected, best = min(found, key=lambda entry: entry[0])
        finite = bool(torch.isfinite(values).all())  # else there is a sentence elsewhere
        tolerance = TOLERANCE.get(max(coarsest, self.dtype, key=lambda kind: torch.finfo(kind).eps), COARSE_TOLERANCE)
        if finite and not difference <= tolerance * scale:
            row, column = divmod(int((values - expected).abs().argmax()), values.shape[1])
            raise UserError(
                f"the features of a sample alone (the input of {chosen.name}) differ from those in a batch "
                f"({expected[row, column].item():g} and {values[row, column].item():g}): the model is random even in "
                "evaluation mode, or samples depend on each other; make the forward pass deterministic and sample by "
                "sample."
            )
        return best


def _largest(values: Tensor) -> float:
    return values.abs().max().item() if values.numel() else 0.0


@contextmanager
def _observed(model: nn.Module, name: str) -> Iterator[list[Tensor]]:
    """Copies of the first tensor argument of each call of a module."""
    inputs: list[Tensor] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
        if found is None:
            raise UserError(
                f"layer={name!r} ({type(module).__name__}) is called without a tensor, so it has no input to use: "
                "choose a layer inside it."
            )
        inputs.append(found.detach().clone())

    module = dict(model.named_modules(remove_duplicate=False))[name]
    handle = module.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield inputs
    finally:
        handle.remove()


def _check_name(layer: object, model: nn.Module) -> None:
    """Raise UserError where no module has that name."""
    names = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    if isinstance(layer, str) and layer in names:
        return
    if not isinstance(layer, str):
        raise UserError(f"layer={layer!r} is {a_kind(layer)}: give the name of a module, as in named_modules().")
    close = difflib.get_close_matches(layer, names, n=3)
    hint = (
        f"did you mean {' or '.join(repr(name) for name in close)}?" if close else "model.named_modules() lists them."
    )
    raise UserError(f"layer={layer!r} is not a module of the model: {hint}")
