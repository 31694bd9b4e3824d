"""Random features of the tangent kernel: short embeddings whose inner products estimate those of the gradients.

Every layer's share is shortened by the map of its own that fits it (see `sketch_maps`), and the shares are added up, so
that nothing of the size of a large layer is written. The map depends only on the seed, the layer's name and its sizes:
not on the samples, their number, the batch, the device, or whether the plan takes factors or gradients written out.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from afterkernel.kernels import sketch_maps
from afterkernel.kernels.embedding import Embedding, embedding
from afterkernel.kernels.layers import Method, Shape
from afterkernel.kernels.layout import try_again
from afterkernel.kernels.plan import DEFAULT_BUDGET_BYTES, Cost, LayerPlan, Outputs, costs
from afterkernel.kernels.precision import exact_products
from afterkernel.kernels.samples import Batch
from afterkernel.kernels.terms import Block, Factors, Gradients, Lookups, Term
from afterkernel.kernels.trained import Choice
from afterkernel.types import Float, Tensor

LAYER = "sketch"
# Samples whose exact kernel the error is estimated with, and the share of the budget that they may take.
ERROR_SAMPLES, ERROR_SHARE = 48, 4
# Passes over numbers in memory: of a gradient that is written out, and of a Fourier transform.
WRITTEN_PASSES, TRANSFORM_PASSES = 4, 4


def is_matrix(outputs: int, inputs: int, groups: int, dim: int) -> bool:
    """Whether a weight has the map of a matrix; a gradient that is no longer than the sketch has one of its own."""
    return groups == 1 and outputs * inputs > dim


class SketchChoice:
    """Chooses how each layer is sketched by the cost for each sample, and remembers the sizes of the layers."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.shapes: dict[str, list[Shape]] = {}

    def __call__(self, layer: str, shape: Shape, outputs: Outputs, elementwise: float) -> LayerPlan:
        """The plan of one layer; arguments as for `plan.choose`."""
        self.shapes.setdefault(layer, []).append(shape)
        found = {cost.method: cost for cost in costs(shape, outputs, elementwise)}
        joined = outputs.gradients // outputs.rows
        if shape.kind == "lookup":
            return LayerPlan(layer, found["factors"], "the gradients of the entries that occur")
        if shape.kind == "vector" or not is_matrix(joined * shape.outputs, shape.inputs, shape.groups, self.dim):
            return LayerPlan(layer, found["gradients"], "its gradient is short, or of groups")
        written = found["gradients"].numbers * (shape.positions + WRITTEN_PASSES * elementwise)
        length = sketch_maps.length_for(self.dim, joined * shape.outputs, shape.inputs)
        transform = length * (math.log2(length) + TRANSFORM_PASSES * elementwise)
        transformed = shape.positions * (1 + outputs.rows) * transform
        method: Method = "gradients" if written < transformed else "factors"
        reason = f"operations per sample: {written:,.0f} of gradients written out, {transformed:,.0f} of their factors"
        return LayerPlan(layer, replace(found[method], operations_a_sample=min(written, transformed)), reason)


class SketchEmbedding:
    """The sketch (dim numbers per output kept apart) of the tangent kernel's embedding of a model.

    An embedding as the others are, so that Gram matrices, SVMs and measures are those of the sketched kernel. `output`
    and `parameters` as for `ntk`. Raises UserError for a model without trainable parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        dim: int = 4096,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        output: int | str | None = None,
        parameters: Choice | None = None,
    ) -> None:
        self.dim, self.seed = dim, seed
        self.choice = SketchChoice(dim)
        self.phi: Embedding = embedding(
            model, "ntk", dtype=dtype, device=device, output=output, parameters=parameters, choose=self.choice
        )
        self.model: nn.Module = self.phi.model
        self.dtype: torch.dtype = self.phi.dtype
        self.device: torch.device = self.phi.device
        self.budget_bytes = DEFAULT_BUDGET_BYTES
        self.layers: Sequence[LayerPlan] = ()

    @property
    def identity(self) -> Mapping[str, object]:
        """Which output and parameters, and which random map."""
        return {**self.phi.identity, "sketch_dim": self.dim, "sketch_seed": self.seed}

    @property
    def outputs(self) -> int:
        """Rows of the Gram matrix per sample."""
        return self.phi.outputs

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample before it is shortened."""
        return self.dtype.itemsize * max(1, sum(layer.cost.numbers for layer in self.layers))

    @property
    def samples_at_once(self) -> int:
        """Samples of one batch: as many as half of the budget holds before they are shortened."""
        return max(1, min(self.phi.samples_at_once, self.budget_bytes // (2 * self.sample_bytes)))

    @property
    def work_bytes(self) -> int:
        """What a batch takes apart from its sketches: its gradients or factors, and Fourier transforms."""
        transforms = 4 * self.dtype.itemsize * sketch_maps.TRANSFORMED
        return self.phi.work_bytes + self.samples_at_once * self.sample_bytes + transforms

    def limit_work(self, budget_bytes: int) -> None:
        """Bound what a batch takes by a budget; a single sample may take more."""
        self.budget_bytes = budget_bytes
        if hasattr(self.phi, "limit_work"):
            self.phi.limit_work(budget_bytes)

    def plan_layers(self, x: Batch, *, paired: bool = False) -> Sequence[LayerPlan]:
        """Choose how each layer is sketched; `layers` has these plans. Held is one layer: the sketch."""
        self.choice.shapes.clear()
        self.layers = self.phi.plan_layers(x, paired=paired)
        numbers = self.outputs * self.dim
        cost = Cost("gradients", numbers, numbers * self.outputs, numbers * self.outputs, numbers)
        return [LayerPlan(LAYER, cost, f"{len(self.layers)} layers, shortened to {self.dim} numbers")]

    def block(self, x: Batch, out: Block | None = None, rows: Sequence[int] | None = None) -> Block:
        """The sketches of the samples x, or of only those in `rows` of one batch; written to `out` if given."""
        if rows is not None:
            return _held(self.shortened(self.phi.block(x, rows=rows)))
        size = self.samples_at_once
        parts = []
        for start in range(0, len(x), size):
            part = slice(start, min(start + size, len(x)))
            gradients = self.phi.block(x[part])
            found = _held(self.shortened(gradients))
            del gradients
            if out is None:
                parts.append(found)
            else:
                out.put(start, found)
        if out is not None:
            return out
        return parts[0] if len(parts) == 1 else _held(torch.cat([rows_of(part) for part in parts]))

    def __call__(self, x: Batch) -> Float[Tensor, "n p"]:
        """The sketches as rows, those of several outputs side by side."""
        with exact_products():
            return try_again(lambda: self.block(x)).embeddings()

    @torch.no_grad()
    def shortened(self, block: Block) -> Float[Tensor, "n k dim"]:
        """The sketches of samples whose gradients are given."""
        first = next(term for terms in block.layers.values() for term in terms)
        like = torch.empty(0, dtype=first.dtype, device=self.device)
        sums = sketch_maps.Sums(len(block), self.outputs, self.dim, self.seed, like)
        for layer, terms in block.layers.items():
            for place, term in enumerate(terms):
                self._add(layer, place, term, sums)
        return sums.folded()

    def _add(self, layer: str, place: int, term: Term, sums: sketch_maps.Sums) -> None:
        key = sketch_maps.key_of(self.seed, layer, place)
        if isinstance(term, Lookups):
            sketch_maps.add_lookups(term.indices, term.outputs, key, sums)
            return
        table = self._table(layer, place, term)
        if table is not None:
            sketch_maps.add_table(term.gradients().view(len(term), sums.outputs, *table), key, sums)
            return
        sizes = self._matrix_sizes(layer, place, term)
        if sizes is None:
            sketch_maps.add_pieces(term.gradients(), key, sums.plain(self.dim))
            return
        matrix = sketch_maps.MatrixSketch(key, *sizes)
        if isinstance(term, Factors):
            matrix.add_factors(term.inputs[:, 0], term.outputs[:, :, 0], sums)
        else:
            matrix.add_written(term.gradients().view(len(term), sums.outputs, *sizes), sums)

    def _table(self, layer: str, place: int, term: Term) -> tuple[int, int] | None:
        """(entries, width) of a table whose gradients are written out: its map is that of lookups, which it may be."""
        shapes = self.choice.shapes.get(layer, [])
        shape = shapes[place] if place < len(shapes) else None
        if shape is None or shape.kind == "matrix" or not isinstance(term, Gradients):
            return None
        is_table = shape.inputs > 1 and term.rows.shape[2] == shape.parameters == shape.inputs * shape.outputs
        return (shape.inputs, shape.outputs) if is_table else None

    def _matrix_sizes(self, layer: str, place: int, term: Term) -> tuple[int, int] | None:
        """(outputs, inputs) of a term that has the map of a matrix, with all outputs of the network that it sums."""
        if isinstance(term, Factors):
            outputs, inputs, groups = term.outputs.shape[-1], term.inputs.shape[-1], term.inputs.shape[1]
        else:
            shapes = self.choice.shapes.get(layer, [])
            shape = shapes[place] if place < len(shapes) else None
            numbers = term.rows.shape[2] if isinstance(term, Gradients) else 0
            if shape is None or shape.kind != "matrix" or numbers % shape.parameters:
                return None
            outputs, inputs = numbers // shape.parameters * shape.outputs, shape.inputs
            groups = shape.groups
        return (outputs, inputs) if is_matrix(outputs, inputs, groups, self.dim) else None

    def layout(self, block: Block) -> str:
        """A hash of the random map that a block is shortened by: dim, seed, and the layers with their sizes."""
        digest = hashlib.sha256(f"{self.dim} {self.seed}".encode())
        for layer, terms in block.layers.items():
            for place, term in enumerate(terms):
                if isinstance(term, Lookups):
                    what: object = ("lookup", term.outputs.shape[-1])
                elif (table := self._table(layer, place, term)) is not None:
                    what = ("lookup", table[1])
                else:
                    what = self._matrix_sizes(layer, place, term) or ("pieces", term.gradients()[:1].shape[2])
                digest.update(f"\0{layer} {place} {what}".encode())
        return digest.hexdigest()

    @torch.no_grad()
    def estimated_error(self, x: Batch) -> float | None:
        """The root mean square error of an entry K_ij of the sketched kernel, relative to |phi(x_i)| |phi(x_j)|.

        Estimated from the exact entries of all pairs of up to 48 of the samples x, as many as a quarter of the budget
        holds. None for a single sample, or where all gradients are zero.
        """
        fitting = self.budget_bytes // ERROR_SHARE // self.sample_bytes
        count = min(len(x), ERROR_SAMPLES, max(2, fitting))
        few = x[:: len(x) // count][:count]
        with exact_products():
            exact = try_again(lambda: self.phi.block(few))
            sketched = self.shortened(exact).flatten(0, 1).double()
            side = len(sketched)
            K = torch.zeros(side, side, dtype=self.dtype, device=self.device)
            exact.add_products(exact, K)
        lengths = K.diagonal().double().clamp(min=0).sqrt()
        sample = torch.arange(side, device=self.device) // self.outputs
        scale = lengths[:, None] * lengths
        chosen = (sample[:, None] < sample) & (scale > 0)
        if not bool(chosen.any()):
            return None
        errors = ((sketched @ sketched.T - K)[chosen] / scale[chosen]).square()
        return float(errors.mean().sqrt())


def rows_of(block: Block) -> Float[Tensor, "n k dim"]:
    """The sketches that a block holds."""
    (term,) = block.layers[LAYER]
    assert isinstance(term, Gradients)
    return term.rows


def _held(rows: Float[Tensor, "n k dim"]) -> Block:
    return Block({LAYER: (Gradients(rows),)})
