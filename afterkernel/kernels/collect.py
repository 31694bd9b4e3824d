"""Collect a network's gradients, unit by unit: one forward and one backward pass per batch of samples.

The backward pass stops where samples meet parameters (see `sites`); what the gradients in the parameters are follows
from there. Parameters that the sites do not account for get per-example gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf, prod

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels import contract
from afterkernel.kernels.allocator import keep_freed_memory
from afterkernel.kernels.capture import CallsDifferError, layer_of, uses
from afterkernel.kernels.convolutions import Convolution
from afterkernel.kernels.groups import ManyEntriesError, Unit
from afterkernel.kernels.layers import MatrixCall, Method
from afterkernel.kernels.layout import Layout, LayoutChangedError, TableWrittenOutError, try_again, watched
from afterkernel.kernels.machine import batch_sizes, crashes_channels_last, elementwise_cost
from afterkernel.kernels.network_gradients import NetworkGradients, Pass
from afterkernel.kernels.numeric import real_numbers
from afterkernel.kernels.output import Output
from afterkernel.kernels.per_example import LEAST_BYTES, PerExampleGradients
from afterkernel.kernels.plan import Choose, Cost, LayerPlan, Outputs, choose, choose_for_pairs, costs, merged
from afterkernel.kernels.precision import exact_products
from afterkernel.kernels.probe import sample_shape
from afterkernel.kernels.reach import check_reached
from afterkernel.kernels.samples import Batch, Samples, placed
from afterkernel.kernels.sites import LOCAL_BYTES, LocalSite, SiteFailedError
from afterkernel.kernels.terms import Block, OutputsApart, Term
from afterkernel.kernels.trained import Choice, train_only
from afterkernel.kernels.verify import check_independence, same, warn_of_rounding, wrong_layers
from afterkernel.kernels.working_copy import WorkingCopy
from afterkernel.types import Float, Tensor

# Samples, and outputs of each, on which gradients are compared with autograd's.
PROBE_SAMPLES, PROBE_OUTPUTS = 3, 8
# Bytes of the gradients that are compared at once, where no budget is known.
VERIFY_BYTES = 1 << 28


class GradientEmbedding:
    """phi(x) = d f(x) / d theta over the trainable parameters, f in evaluation mode (arXiv 2105.10585, section 2).

    `methods` says for each unit whether its gradients are written out or kept as factors; the plan sets it. Raises
    UserError for a model without trainable parameters. `parameters` chooses some of them.
    """

    def __init__(
        self,
        model: nn.Module,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        output: Output | None = None,
        parameters: Choice | None = None,
        choose: Choose | None = None,
    ) -> None:
        self.dtype, self.device = dtype, device or torch.device("cpu")
        self.output = output or Output()
        if self.device.type == "cpu":
            keep_freed_memory()
        self.working = WorkingCopy(model, dtype, self.device)
        self.model: nn.Module = self.working
        train_only(self.working.inner, parameters)
        self._trained = {name: v for name, v in self.model.named_parameters() if v.requires_grad and v.numel()}
        if not self._trained:
            raise UserError("the model has no trainable parameter, so it has no NTK; set requires_grad on some.")
        self.parameters = sum(real_numbers(value) for value in self._trained.values())
        self.choose = choose  # how each layer is held, where not by the cost of Gram matrices or paired products
        self.observe: Callable[[Tensor], None] | None = None  # called with the outputs (n, k) of every batch
        self.layout: Layout | None = None
        self.work_limit: int | None = None  # bytes for `work_bytes`; a single sample may take more
        self._samples_given: int | None = None
        self._memory_format = torch.contiguous_format
        self._one: tuple[Layout | None, object, Block] | None = None  # of one sample, with what it depends on
        self._network = NetworkGradients(self.working, self._trained, self.output, dtype, self.device)

    @property
    def methods(self) -> dict[Unit, Method]:
        """How the gradients of each unit are held."""
        return self._network.methods

    @methods.setter
    def methods(self, methods: dict[Unit, Method]) -> None:
        self._network.methods = methods

    @property
    def outputs(self) -> int:
        """Rows of the Gram matrix per sample: 1 but for the full kernel of several outputs; known once prepared."""
        return self.layout.outputs if self.layout is not None and self.output.which == "full" else 1

    @property
    def identity(self) -> Mapping[str, object]:
        """Output and parameters."""
        return {"kernel": "ntk", "output": self.output.which, "trained": list(self._trained)}

    @property
    def work_bytes(self) -> int:
        """Bytes that a batch takes apart from its embeddings: activations, gradients in the making, patches."""
        if self.layout is None:
            return 0
        return self.samples_at_once * self._sample_work_bytes(self.layout) + self._fixed_work_bytes(self.layout)

    @property
    def samples_at_once(self) -> int:
        """Samples of one batch; known once prepared."""
        if self._samples_given is not None:
            return self._samples_given
        if self.layout is None:
            return 1
        most = batch_sizes(self.device)
        each = self._sample_work_bytes(self.layout)
        # Few samples are slow: up to a number of them, more memory is worth its while.
        found = max(
            min(most.samples, most.activation_bytes // each), min(most.few_samples, most.few_activation_bytes // each)
        )
        if self.work_limit is not None:
            found = min(found, (self.work_limit - self._fixed_work_bytes(self.layout)) // each)
        return max(1, found - found % 8 if found > 8 else found)

    @samples_at_once.setter
    def samples_at_once(self, samples: int) -> None:
        self._samples_given = samples

    def _patch_bytes(self, layout: Layout) -> int:
        """Bytes of laid-out patches; a budget of a few megabytes counts a part of them, to have room for samples."""
        if all(shape.positions == 1 for shape in layout.shapes.values()):
            return 0
        most = batch_sizes(self.device).patch_bytes
        return most if self.work_limit is None else min(most, self.work_limit // 2)

    def _fixed_work_bytes(self, layout: Layout) -> int:
        """Patches, and gradients in the making where calls or the whole model are differentiated sample by sample."""
        network = self._network
        alone = LOCAL_BYTES * network.programs.has_local if network.per_example is None else network.per_example.limit
        expanded = self._expanded_bytes if "expanded" in self.methods.values() else 0
        return self._patch_bytes(layout) + alone + expanded

    @property
    def _expanded_bytes(self) -> int:
        """Gradients that are written out from factors for a product, of rows and of columns."""
        return 2 * contract.EXPANDED * self.dtype.itemsize

    def _sample_work_bytes(self, layout: Layout) -> int:
        """Activations of a sample, gradients in the layers' results for every output, and gradients made elsewhere."""
        k = layout.outputs
        joined = k > 1 and self.output.which == "trace"
        elsewhere = 0
        for group in layout.groups:
            for unit, shape in group.shapes.items():
                if self.methods.get(unit) not in ("factors", "expanded"):
                    elsewhere = max(elsewhere, (joined + group.copies) * k * shape.parameters)
        # The gradients in one target are allocated again, while those in all of them are kept.
        targets = 2 * k * layout.target_bytes if k > 1 else 0
        return layout.activation_bytes + targets + elsewhere * self.dtype.itemsize

    @torch.inference_mode(False)
    @torch.enable_grad()
    def prepare(self, x: Batch) -> Layout:
        """Look at a few samples to learn the layers, prove that they account for every parameter, and time nothing yet.

        Raises UserError where the output of a sample depends on the others of its batch, or where the gradient does not
        agree with autograd's.
        """
        if self.layout is not None:
            return self.layout
        # Verification and fallbacks take autograd's gradients in weights, which channels last makes unsafe on a CPU.
        self.model.to(memory_format=torch.contiguous_format)
        probe = self._place(x[:PROBE_SAMPLES])
        with exact_products():  # else cuDNN multiplies in TF32, and its rounding looks like another gradient
            self.working.check(probe)
            check_reached(self.working, probe, self._trained, self.output.select)
            layout, wrong = self._learn(x)
            if wrong:
                # A layer that differs from autograd gets per-example gradients, which must agree with autograd.
                self._network.distrusted |= {
                    name: "its gradient differs from autograd's" for name in self._trained if layer_of(name) in wrong
                }
                layout, wrong = self._learn(x)
        if wrong:
            raise UserError(
                f"the gradient of layer {wrong[0]} for single samples does not add up to that of the batch: a sample's "
                "gradient depends on the others, so the model has no kernel of single samples."
            )
        # What falls back on these samples does so on all: the first dimension may agree by chance in another batch.
        self._network.distrusted = dict(layout.left_over)
        with exact_products():
            self._prefer_channels_last(probe, layout)
        self.layout = layout
        return layout

    def _learn(self, x: Batch) -> tuple[Layout, list[str]]:
        """The layout, from a few samples, and the layers whose gradients are not those of autograd."""
        program = self._network.program(x, self._place)
        probe = self._place(x[:PROBE_SAMPLES])
        forward = self._network.of(probe)
        recorded, outputs, kept = watched(self.working, probe, lambda: program.record(len(probe), forward))
        layout = self._network.lay_out(program, recorded, outputs, 2 * kept // len(probe))
        if not (layout.groups or layout.left_over):
            by_function = isinstance(probe, Samples) and probe.forward is not None
            hint = ": forward has to use the model that it is given" if by_function else ""
            raise UserError(f"the model's output does not depend on any trainable parameter, so it has no NTK{hint}.")
        self._network.per_example = self._fallback(layout) if layout.left_over else None
        self.methods = dict.fromkeys(layout.shapes, "gradients")
        check_independence(self.model, probe, outputs, self.output)
        warn_of_rounding(outputs, self.dtype)
        columns = self._few_columns(layout, outputs)
        try:
            terms = self._network.terms(Pass(probe, recorded, outputs, layout.groups), columns=columns)
            # An ordinary forward pass: what sites do to one has no part in what they are compared with.
            return layout, wrong_layers(forward()[:, columns], terms, self._trained)
        except SiteFailedError as failed:
            names = {name for source in failed.recorded.sources for name in program.parents(source)}
            self._network.distrusted |= dict.fromkeys(names, "its call cannot be run for one sample by itself")
            return self._learn(x)
        except RuntimeError as error:
            raise _gradient_fails(error) from error

    def _few_columns(self, layout: Layout, outputs: Float[Tensor, "n k"]) -> Tensor:
        """The outputs whose gradients are compared: a few, and as many as the work space holds of the largest layer."""
        left_over = sum(real_numbers(self._trained[name]) for name in layout.left_over)
        largest = max([shape.parameters for shape in layout.shapes.values()] + [left_over])
        room = (self.work_limit or VERIFY_BYTES) // (2 * len(outputs) * largest * self.dtype.itemsize)
        count = max(1, min(outputs.shape[1], PROBE_OUTPUTS, room))
        return torch.linspace(0, outputs.shape[1] - 1, count, dtype=torch.float64).long()

    def plan_layers(self, x: Batch, *, paired: bool = False) -> Sequence[LayerPlan]:
        """Choose for each layer the cheaper method, by its sizes, and take it from now on.

        `paired` is for samples that are multiplied with one other each, not with all.
        """
        layout = self.prepare(x)
        counts = Outputs(layout.outputs, self.outputs)
        plans = []
        pick = self.choose or (choose_for_pairs if paired else choose)
        sites = self._network.program(x, self._place).sites
        for group in layout.groups:
            for unit, shape in group.shapes.items():
                chosen = pick(unit.layer, shape, counts, elementwise_cost(self.device))
                if chosen.cost.method == "expanded" and 2 * self._expanded_bytes > (self.work_limit or inf):
                    written = costs(shape, counts, elementwise_cost(self.device))[0]
                    chosen = replace(chosen, cost=written, reason="the budget has no room to write it out anew")
                self.methods[unit] = chosen.cost.method
                plans.append(replace(chosen, reason=group.reason(sites) or chosen.reason))
        for name, why in layout.left_over.items():
            numbers = real_numbers(self._trained[name]) * layout.outputs
            cost = Cost("gradients", numbers, numbers * self.outputs, numbers * self.outputs, numbers)
            how = self._network.per_example.method if self._network.per_example is not None else ""
            plans.append(LayerPlan(name, cost, f"per-example gradients by {how}: {why}"))
        return merged(plans)

    def block(self, x: Batch, out: Block | None = None, rows: Sequence[int] | None = None) -> Block:
        """The terms of the samples x (n, ...), or of only those in `rows` of one batch; written to `out` if given."""
        self.prepare(x)
        samples = self.samples_at_once
        if rows is not None:
            return self._batch(x, None, rows)
        if out is None and len(x) <= samples:
            return self._batch(x)
        whole = self._empty(x) if out is None else out
        for start in range(0, len(x), samples):
            part = slice(start, min(start + samples, len(x)))
            self._batch(x[part], whole[part])
        return whole

    def _empty(self, x: Batch) -> Block:
        """A block for all samples of x, laid out as that of one is."""
        kind = tuple(self.methods.items()), sample_shape(x)
        if self._one is None or self._one[0] is not self.layout or self._one[1] != kind:
            self._one = self.layout, kind, self._batch(x[:1], observed=False)
        return self._one[2].empty_like(len(x))

    def __call__(self, x: Batch) -> Float[Tensor, "n p"]:
        """The embeddings of x written out, one row per sample, in an order of the engine's own."""
        planned, self.methods = self.methods, dict.fromkeys(self.prepare(x).shapes, "gradients")
        try:
            with exact_products():
                return try_again(lambda: self.block(x)).embeddings()
        finally:
            self.methods = planned or self.methods

    def _place(self, x: Batch) -> Batch:
        if isinstance(x, Samples):
            return x.map(lambda leaf: placed(leaf, self.device, self.dtype))
        here = placed(x, self.device, self.dtype)
        return here.contiguous(memory_format=self._memory_format) if x.ndim == 4 else here

    def _prefer_channels_last(self, probe: Batch, layout: Layout) -> None:
        """Take channels last, in which CPUs convolve faster, if the probe's outputs and gradients stay the same.

        Parameters with per-example gradients keep the contiguous format: only autograd's gradient in a convolution's
        weight, which nothing else here uses, is unsafe in channels last (see `machine.crashes_channels_last`).
        """
        if self.device.type != "cpu" or isinstance(probe, Samples) or probe.ndim != 4 or layout.left_over:
            return
        program = self._network.program(probe, self._place)
        recorded, outputs = program.record(len(probe), self._network.of(probe))
        before = Pass(probe, recorded, outputs, layout.groups)
        calls = [entry.call for entry in recorded]
        convolutions = [call for call in calls if isinstance(call, Convolution) and call.weight.ndim == 4]
        work = sum(prod(call.sizes()) for call in calls if isinstance(call, MatrixCall))
        if 2 * sum(prod(call.sizes()) for call in convolutions) <= work:
            return  # too little to gain
        if any(isinstance(entry.site, LocalSite) for entry in recorded):
            return
        if any(crashes_channels_last(call.weight, call.stride) for call in convolutions):
            return
        columns = self._few_columns(layout, outputs)
        tensors = [*self.model.parameters(), *self.model.buffers()]
        contiguous = [tensor.data for tensor in tensors]
        self._memory_format = torch.channels_last
        try:
            self.model.to(memory_format=torch.channels_last)
            moved = self._place(probe)
            after = Pass(moved, *program.record(len(moved), self._network.of(moved)), layout.groups)
            first, second = (self._network.terms(batch, columns=columns) for batch in (before, after))
            unchanged = same(first, second, outputs[:, columns], after.outputs[:, columns])
        except (RuntimeError, UserError, CallsDifferError):  # a `view` that channels last does not allow
            unchanged = False
        if not unchanged:
            self._memory_format = torch.contiguous_format
            for tensor, data in zip(tensors, contiguous, strict=True):
                tensor.data = data

    @torch.inference_mode(False)
    @torch.enable_grad()
    def _batch(
        self, x: Batch, out: Block | None = None, rows: Sequence[int] | None = None, *, observed: bool = True
    ) -> Block:
        assert self.layout is not None
        x = self._place(x)
        program = self._network.program(x, self._place)
        forward = self._network.of(x)
        try:
            recorded, outputs = program.record(len(x), forward)
            changed = uses(outputs, self._trained).keys() - self.layout.left_over.keys()
            if program.groups is None:  # samples of another shape than the first
                found = self._network.lay_out(program, recorded, outputs, 0)
                changed |= set() if [*found.shapes] == [*self.layout.shapes] else set(self._trained)
        except CallsDifferError:
            outputs, changed = forward(), set(self._trained)
            self._network.programs.forget_sites()
        if changed:
            self._check_branch(x, outputs)
            self._fall_back(changed, x)
            raise LayoutChangedError
        assert program.groups is not None
        if observed and self.observe is not None:
            self.observe(outputs)
        layers: dict[str, tuple[Term, ...]] = {}
        try:
            for layer, term in self._network.terms(Pass(x, recorded, outputs, program.groups), out=out, rows=rows):
                layers[layer] = (*layers.get(layer, ()), term)
        except ManyEntriesError as many:
            self._network.full_tables.add(many.unit)
            self._fall_back(set(), x)
            raise TableWrittenOutError from None
        except RuntimeError as error:
            raise _gradient_fails(error) from error
        return OutputsApart(layers) if self.output.which == "diagonal" else Block(layers)

    @torch.no_grad()
    def _check_branch(self, x: Batch, outputs: Float[Tensor, "n k"]) -> None:
        """Raise UserError if a sample of this batch has another output by itself: the branch depends on the batch."""
        for i in range(0, len(x), max(1, len(x) // 8)):
            alone = self.output.select(self.model(x[i : i + 1]), 1)
            if (alone[0] - outputs[i]).abs().max() > 1e-3 * outputs.abs().max():
                raise UserError(
                    "the model uses its parameters differently for some samples, and a sample's output "
                    "depends on its batch: a branch on the data of the whole batch has no kernel of single samples."
                )

    def _fall_back(self, names: set[str], x: Batch) -> None:
        """Switch to per-example gradients for parameters that this batch uses differently from the first samples."""
        assert self.layout is not None
        # What has not been used so far may be used by other samples still: better now than once each.
        why = "used differently for some samples than for others"
        if names:
            self._network.distrusted |= {name: why for name in self._trained if name in names | set(self.layout.unused)}
        before = self.methods
        self._network.programs.forget_groups()
        self.layout, _ = self._learn(x)
        self.methods = {unit: before.get(unit, "gradients") for unit in self.layout.shapes}

    def _fallback(self, layout: Layout) -> PerExampleGradients:
        left = {name: self._trained[name] for name in layout.left_over}
        found = PerExampleGradients(self.model, left, self.output.select, layout.activation_bytes)
        if self.work_limit is not None:
            found.limit = max(LEAST_BYTES, min(found.limit, self.work_limit // 2))
        return found


def _gradient_fails(error: RuntimeError) -> UserError:
    return UserError(f"the model's gradient fails (is a value changed in place?): {str(error).splitlines()[0]}")
