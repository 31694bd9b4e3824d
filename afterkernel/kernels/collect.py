"""Collect a network's gradients, layer by layer: one forward and one backward pass a batch of samples.

The backward pass stops at the results of the layers; what the weights' gradients are follows from inputs and output
gradients (see `contract`). Parameters that no layer call accounts for get per-example gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels.allocator import keep_freed_memory
from afterkernel.kernels.capture import Captured, Recorded, Recorder, Unit, layer_of, resolve
from afterkernel.kernels.layers import Convolution, Method, Shape
from afterkernel.kernels.machine import at_once, crashes_channels_last, elementwise_cost
from afterkernel.kernels.output import Output
from afterkernel.kernels.per_example import PerExampleGradients
from afterkernel.kernels.plan import Cost, LayerPlan, Outputs, choose, choose_for_pairs, merged
from afterkernel.kernels.precision import exact_products
from afterkernel.kernels.reach import check_reached
from afterkernel.kernels.terms import Block, Gradients, Term
from afterkernel.kernels.verify import check_independence, same, wrong_layers
from afterkernel.kernels.working_copy import WorkingCopy, graph_bytes, real_numbers
from afterkernel.types import Float, Tensor

# Samples, and outputs of each, on which gradients are compared with autograd's.
PROBE_SAMPLES, PROBE_OUTPUTS = 3, 8

Result = TypeVar("Result")


class LayoutChangedError(UserError):
    """A batch uses parameters otherwise than the first samples did; these have per-example gradients from now on.

    Blocks collected earlier have another layout and have to be collected again, which `try_again` does.
    """

    def __init__(self) -> None:
        super().__init__(
            "the model uses its parameters otherwise for some samples than for the first: compute it again."
        )


def try_again(compute: Callable[[], Result]) -> Result:
    """The result of a computation that is begun anew as often as the layout changes: once a parameter at most."""
    while True:
        try:
            return compute()
        except LayoutChangedError:
            continue


@dataclass(frozen=True)
class Layout:
    """What a network turned out to be made of: the layers captured, with their sizes, and the remaining parameters."""

    shapes: Mapping[Unit, Shape]
    left_over: Mapping[str, str]
    unused: tuple[str, ...]
    outputs: int
    activation_bytes: int


class GradientEmbedding:
    """phi(x) = d f(x) / d theta over all trainable parameters, f in evaluation mode (arXiv 2105.10585, section 2).

    `methods` says for each unit whether its gradients are written out or kept as factors; the plan sets it. Raises
    UserError for a model without trainable parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        output: Output | None = None,
    ) -> None:
        self.dtype, self.device = dtype, device or torch.device("cpu")
        self.output = output or Output()
        if self.device.type == "cpu":
            keep_freed_memory()
        self.working = WorkingCopy(model, dtype, self.device)
        self.model: nn.Module = self.working
        self._trained = {name: v for name, v in self.model.named_parameters() if v.requires_grad and v.numel()}
        if not self._trained:
            raise UserError("the model has no trainable parameter, so it has no NTK; set requires_grad on some.")
        self.parameters = sum(real_numbers(value) for value in self._trained.values())
        self.methods: dict[Unit, Method] = {}
        self.observe: Callable[[Tensor], None] | None = None  # called with the outputs (n, k) of every batch
        self.layout: Layout | None = None
        self.work_limit: int | None = None  # bytes for `work_bytes`; a single sample may take more
        self._samples_given: int | None = None
        self._per_example: PerExampleGradients | None = None
        self._columns: list[int] | None = None
        self._distrusted = {name: "a complex parameter" for name, v in self._trained.items() if v.is_complex()}
        self._memory_format = torch.contiguous_format

    @property
    def outputs(self) -> int:
        """Rows of the Gram matrix a sample: 1 but for the full kernel of several outputs; known once prepared."""
        return self.layout.outputs if self.layout is not None and self.output.which == "full" else 1

    @property
    def identity(self) -> Mapping[str, object]:
        """Which output, and which parameters."""
        return {"kernel": "ntk", "output": self.output.which, "trained": list(self._trained)}

    @property
    def work_bytes(self) -> int:
        """Bytes that a batch takes apart from its embeddings: activations, gradients in the making, patches."""
        if self.layout is None:
            return 0
        return self.samples_at_once * self._sample_work_bytes(self.layout) + self._patch_bytes(self.layout)

    @property
    def samples_at_once(self) -> int:
        """Samples of one batch; known once prepared."""
        if self._samples_given is not None:
            return self._samples_given
        if self.layout is None:
            return 1
        most = at_once(self.device)
        each = self._sample_work_bytes(self.layout)
        # Few samples are slow: up to a number of them, more memory is worth its while.
        found = max(
            min(most.samples, most.activation_bytes // each), min(most.few_samples, most.few_activation_bytes // each)
        )
        if self.work_limit is not None:
            found = min(found, (self.work_limit - self._patch_bytes(self.layout)) // each)
        return max(1, found - found % 8 if found > 8 else found)

    @samples_at_once.setter
    def samples_at_once(self, samples: int) -> None:
        self._samples_given = samples

    def _patch_bytes(self, layout: Layout) -> int:
        """Bytes of laid-out patches; a budget of a few megabytes counts a part of them, to have room for samples."""
        if all(shape.positions == 1 for shape in layout.shapes.values()):
            return 0
        most = at_once(self.device).patch_bytes
        return most if self.work_limit is None else min(most, self.work_limit // 2)

    def _sample_work_bytes(self, layout: Layout) -> int:
        """Activations of a sample and their gradients for every output, and gradients that are not written in place."""
        outputs = max(1, layout.outputs)
        # Gradients of a layer are made for every output before the outputs are joined; factors are joined as views.
        written = (shape.parameters for unit, shape in layout.shapes.items() if self.methods.get(unit) != "factors")
        numbers = max(written, default=0) if outputs > 1 and self.output.which == "trace" else 0
        if self._per_example is not None:
            numbers += PerExampleGradients.COPIES * self._per_example.size
        return layout.activation_bytes * outputs + numbers * outputs * self.dtype.itemsize

    @torch.inference_mode(False)
    @torch.enable_grad()
    def prepare(self, x: Tensor) -> Layout:
        """Look at a few samples to learn the layers, prove that they account for every parameter, and time nothing yet.

        Raises UserError where the output of a sample depends on the others of its batch, or where the gradient does not
        come out the same by both ways.
        """
        if self.layout is not None:
            return self.layout
        # Verification and fallbacks take autograd's gradients in weights, which channels last makes unsafe on a CPU.
        self.model.to(memory_format=torch.contiguous_format)
        probe = self._place(x[:PROBE_SAMPLES])
        with exact_products():  # else cuDNN multiplies in TF32, and its rounding looks like another gradient
            self.working.check(probe)
            check_reached(self.working, probe, self._trained, self.output.select)
            layout, wrong = self._learn(probe)
            if wrong:
                # A layer that does not come out as autograd has it gets per-example gradients, and those must.
                self._distrusted |= {
                    name: "its gradient differs from autograd's" for name in self._trained if layer_of(name) in wrong
                }
                layout, wrong = self._learn(probe)
        if wrong:
            raise UserError(
                f"the gradient of layer {wrong[0]} for single samples does not add up to that of the batch: a sample's "
                "gradient depends on the others, so the model has no kernel of single samples."
            )
        # What falls back on these samples does so on all: the first dimension may agree by chance in another batch.
        self._distrusted = dict(layout.left_over)
        with exact_products():
            self._prefer_channels_last(probe, layout)
        self.layout = layout
        return layout

    def _learn(self, probe: Tensor) -> tuple[Layout, list[str]]:
        """The layout, from a few samples, and the layers whose gradients are not those of autograd."""
        layout, captured, outputs = self._look(probe)
        self._per_example = self._fallback(layout) if layout.left_over else None
        self.methods = dict.fromkeys(layout.shapes, "gradients")
        check_independence(self.model, probe, outputs, self.output)
        count = outputs.shape[1]
        if count > PROBE_OUTPUTS:
            self._columns = [i * (count - 1) // (PROBE_OUTPUTS - 1) for i in range(PROBE_OUTPUTS)]
            outputs = outputs[:, self._columns]
        try:
            return layout, wrong_layers(outputs, self._terms(captured, outputs, probe, join=False), self._trained)
        except RuntimeError as error:
            raise _gradient_fails(error) from error
        finally:
            self._columns = None

    def plan_layers(self, x: Tensor, *, paired: bool = False) -> Sequence[LayerPlan]:
        """Choose for each layer the cheaper method, by its sizes, and take it from now on.

        `paired` is for samples that are multiplied with one other each, not with all.
        """
        layout = self.prepare(x)
        counts = Outputs(layout.outputs, self.outputs)
        plans = []
        for unit, shape in layout.shapes.items():
            pick = choose_for_pairs if paired else choose
            chosen = pick(unit.layer, shape, counts, elementwise_cost(self.device))
            self.methods[unit] = chosen.cost.method
            plans.append(chosen)
        for name, why in layout.left_over.items():
            numbers = real_numbers(self._trained[name]) * layout.outputs
            cost = Cost("gradients", numbers, numbers * self.outputs, numbers * self.outputs, numbers)
            how = self._per_example.method if self._per_example is not None else ""
            plans.append(LayerPlan(name, cost, f"per-example gradients by {how}: {why}"))
        return merged(plans)

    def block(self, x: Tensor, out: Block | None = None) -> Block:
        """The terms of the samples x (n, ...), written to `out` if given."""
        self.prepare(x)
        samples = self.samples_at_once
        if out is None and len(x) <= samples:
            return self._batch(x)
        whole = out if out is not None else self._batch(x[:1], observed=False).room_for(len(x))
        for start in range(0, len(x), samples):
            part = slice(start, min(start + samples, len(x)))
            self._batch(x[part], whole[part])
        return whole

    def __call__(self, x: Tensor) -> Float[Tensor, "n p"]:
        """The embeddings of x written out, one row a sample, in an order of the engine's own."""
        planned, self.methods = self.methods, dict.fromkeys(self.prepare(x).shapes, "gradients")
        try:
            with exact_products():
                return try_again(lambda: self.block(x)).embeddings()
        finally:
            self.methods = planned or self.methods

    def _select(self, output: object) -> Float[Tensor, "n k"]:
        """The outputs that gradients are taken of: fewer while they are compared with autograd's."""
        selected = self.output.select(output)
        return selected if self._columns is None else selected[:, self._columns]

    def _place(self, x: Tensor) -> Tensor:
        x = x.detach().to(self.device, self.dtype if x.is_floating_point() else x.dtype)
        x = x.clone() if x.is_inference() else x
        return x.contiguous(memory_format=self._memory_format) if x.ndim == 4 else x

    def _prefer_channels_last(self, probe: Tensor, layout: Layout) -> None:
        """Take channels last, in which CPUs convolve faster, if the probe's outputs and gradients stay the same.

        Parameters with per-example gradients keep the contiguous format: only autograd's gradient in a convolution's
        weight, which nothing else here asks for, is unsafe in channels last (see `machine.crashes_channels_last`).
        """
        if self.device.type != "cpu" or probe.ndim != 4 or layout.left_over:
            return
        captured, outputs = self._forward(probe)
        calls = [recorded.call for recordings in captured.units.values() for recorded in recordings]
        convolutions = [call for call in calls if isinstance(call, Convolution) and call.weight.ndim == 4]
        if not convolutions or any(crashes_channels_last(call.weight, call.stride) for call in convolutions):
            return
        outputs = outputs[:, :PROBE_OUTPUTS]
        expected = Block(self._terms(captured, outputs, probe, join=False))
        tensors = [*self.model.parameters(), *self.model.buffers()]
        contiguous = [tensor.data for tensor in tensors]
        self._memory_format = torch.channels_last
        try:
            self.model.to(memory_format=torch.channels_last)
            captured, found = self._forward(self._place(probe))
            found = found[:, :PROBE_OUTPUTS]
            unchanged = captured.units.keys() == layout.shapes.keys() and not captured.left_over
            if unchanged:
                unchanged = same(expected, Block(self._terms(captured, found, probe, join=False)), outputs, found)
        except (RuntimeError, UserError):  # a `view` that channels last does not allow
            unchanged = False
        if not unchanged:
            self._memory_format = torch.contiguous_format
            for tensor, data in zip(tensors, contiguous, strict=True):
                tensor.data = data

    def _forward(self, x: Tensor) -> tuple[Captured, Float[Tensor, "n k"]]:
        with Recorder(self._trained) as recorder:
            output = self.model(x)
        selected = self.output.select(output, len(x))
        return resolve(recorder, selected, self._trained, len(x), self._distrusted), selected

    def _look(self, probe: Tensor) -> tuple[Layout, Captured, Tensor]:
        saved: dict[int, int] = {}
        kept = {_address(tensor) for tensor in (*self.model.parameters(), *self.model.buffers(), probe)}

        def note(tensor: Tensor) -> Tensor:
            if tensor.layout == torch.strided and _address(tensor) not in kept:
                size = min(tensor.untyped_storage().nbytes(), tensor.numel() * tensor.element_size())
                saved[_address(tensor)] = max(size, saved.get(_address(tensor), 0))
            return tensor

        try:
            with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
                captured, outputs = self._forward(probe)
        except RuntimeError:  # torch.func transforms in the forward pass take no such hooks
            captured, outputs = self._forward(probe)
            saved[0] = graph_bytes(outputs)
        if not outputs.requires_grad:
            raise UserError("the model's output does not depend on any trainable parameter, so it has no NTK.")
        shapes = {}
        for unit, calls in captured.units.items():
            first = calls[0].call.shape(weight=unit.weight is not None, bias=unit.bias is not None)
            positions = sum(
                call.call.shape(weight=unit.weight is not None, bias=unit.bias is not None).positions for call in calls
            )
            shapes[unit] = Shape(first.kind, positions, first.inputs, first.outputs, first.groups, first.parameters)
        layout = Layout(
            shapes=shapes,
            left_over=captured.left_over,
            unused=captured.unused,
            outputs=outputs.shape[1],
            # Gradients of the activations take as much again.
            activation_bytes=max(1, 2 * sum(saved.values()) // len(probe)),
        )
        return layout, captured, outputs

    @torch.inference_mode(False)
    @torch.enable_grad()
    def _batch(self, x: Tensor, out: Block | None = None, *, observed: bool = True) -> Block:
        assert self.layout is not None
        x = self._place(x)
        captured, outputs = self._forward(x)
        if (
            captured.units.keys() != self.layout.shapes.keys()
            or captured.left_over.keys() != self.layout.left_over.keys()
        ):
            self._check_branch(x, outputs)
            self._relearn(captured)
            raise LayoutChangedError
        if observed and self.observe is not None:
            self.observe(outputs)
        try:
            return Block(self._terms(captured, outputs, x, out))
        except RuntimeError as error:
            raise _gradient_fails(error) from error

    @torch.no_grad()
    def _check_branch(self, x: Tensor, outputs: Float[Tensor, "n k"]) -> None:
        """Raise UserError where samples of this batch come out otherwise alone: the branch is one of the batch."""
        for i in range(0, len(x), max(1, len(x) // 8)):
            alone = self.output.select(self.model(x[i : i + 1]), 1)
            if (alone[0] - outputs[i]).abs().max() > 1e-3 * outputs.abs().max():
                raise UserError(
                    "the model uses its parameters differently for some samples, and a sample's output "
                    "depends on its batch: a branch on the data of the whole batch has no kernel of single samples."
                )

    def _relearn(self, captured: Captured) -> None:
        """From now on per-example gradients for parameters that this batch uses otherwise than the first samples."""
        assert self.layout is not None
        differ = captured.units.keys() ^ self.layout.shapes.keys()
        names = {name for unit in differ for name in (unit.weight, unit.bias) if name}
        names |= captured.left_over.keys() - self.layout.left_over.keys()
        # What has not been used so far may be used by other samples still: better now than once each.
        names |= set(self.layout.unused)
        why = "used otherwise for some samples than for others"
        self._distrusted.update({name: why for name in self._trained if name in names})
        shapes = {unit: s for unit, s in self.layout.shapes.items() if not names & {unit.weight, unit.bias}}
        kept = {unit: self.methods[unit] for unit in shapes}
        self.layout = replace(
            self.layout,
            shapes=shapes,
            left_over=dict(self._distrusted),
            unused=(),
        )
        self.methods = kept
        self._per_example = self._fallback(self.layout)

    def _fallback(self, layout: Layout) -> PerExampleGradients:
        left = {name: self._trained[name] for name in layout.left_over}
        size = layout.activation_bytes
        return PerExampleGradients(self.model, left, self._select, layout.outputs, size)

    def _terms(
        self,
        captured: Captured,
        outputs: Float[Tensor, "n k"],
        x: Tensor,
        out: Block | None = None,
        *,
        join: bool = True,
    ) -> dict[str, tuple[Term, ...]]:
        """Terms by layer, in the order in which the layers are called, written to `out` if given.

        Without `join` every output is kept apart.
        """
        join = join and self.output.which == "trace"
        calls = [call for recorded in captured.units.values() for call in recorded]
        grads = iter(_output_gradients(outputs, calls))
        layers: dict[str, list[Term]] = {}

        def add(layer: str, make: Callable[[Term | None], Term]) -> None:
            terms = layers.setdefault(layer, [])
            room = None if out is None else out.layers[layer][len(terms)]
            term = make(None if join else room)
            term = term.outputs_joined() if join else term
            if room is not None:
                room.put(0, term)
            terms.append(term if room is None else room)

        for unit, recorded in captured.units.items():
            add(unit.layer, partial(self._unit_term, unit, [(call, next(grads)) for call in recorded]))
        if self._per_example is not None:
            for name, rows in self._per_example(x).items():
                add(layer_of(name), lambda _, rows=rows: Gradients(rows.detach()))  # type: ignore[misc]
        return {layer: tuple(terms) for layer, terms in layers.items()}

    def _unit_term(self, unit: Unit, calls: list[tuple[Recorded, Tensor]], out: Term | None) -> Term:
        """The term of one unit: of its one call, written to `out` if that can be, or of all its calls merged."""
        weight, bias = unit.weight is not None, unit.bias is not None
        method = self.methods[unit]
        if len(calls) == 1:
            return calls[0][0].call.term(method, calls[0][1], weight=weight, bias=bias, out=out)
        terms = [recorded.call.term(method, grad, weight=weight, bias=bias) for recorded, grad in calls]
        return type(terms[0]).merged(terms)


def _gradient_fails(error: RuntimeError) -> UserError:
    return UserError(f"the model's gradient fails (is a value changed in place?): {str(error).splitlines()[0]}")


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _output_gradients(outputs: Float[Tensor, "n k"], calls: list[Recorded]) -> list[Float[Tensor, "n k ..."]]:
    """The gradient of every output in the result of every call, zero where an output does not depend on it."""
    if not calls:
        return []
    edges = [call.edge for call in calls]
    by_output = [
        torch.autograd.grad(column.sum(), edges, retain_graph=True, allow_unused=True) for column in outputs.unbind(1)
    ]
    by_call = [
        [outputs.new_zeros(call.result_shape) if grad is None else grad for grad in grads]
        for call, *grads in zip(calls, *by_output, strict=True)
    ]
    return [grads[0].unsqueeze(1) if len(grads) == 1 else torch.stack(grads, dim=1) for grads in by_call]
