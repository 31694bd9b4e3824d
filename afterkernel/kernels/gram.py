"""Gram matrices in bounded memory: blocks of rows held, chunks of columns streamed past them.

The matrix is exact: every entry is the inner product of two whole embeddings, multiplied in the embedding's data type
(otherwise only if tf32, tf32x3 or bf16 is requested), tiles of a symmetric matrix once. Over several processes of
`torch.distributed` the row blocks are shared out, and every process ends with the whole matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import torch
import torch.distributed as dist

from afterkernel.errors import UserError
from afterkernel.kernels.computation import GramComputation, GramInputs, processes, slices
from afterkernel.kernels.derived import DerivedEmbedding
from afterkernel.kernels.embedding import Embedding
from afterkernel.kernels.finite import FiniteCheck
from afterkernel.kernels.independence import IndependenceChecked
from afterkernel.kernels.layout import try_again
from afterkernel.kernels.machine import batch_sizes
from afterkernel.kernels.plan import DEFAULT_BUDGET_BYTES, Plan, Setting, plan
from afterkernel.kernels.precision import exact_products, precision
from afterkernel.kernels.result_place import Out, ResultPlace, check_place
from afterkernel.kernels.samples import Batch, named_parts
from afterkernel.kernels.sketch_embedding import SketchEmbedding
from afterkernel.kernels.store import TileStore, fingerprint
from afterkernel.kernels.terms import OutputsApart
from afterkernel.kernels.tiles import TOTAL, TileWriter
from afterkernel.progress.work import progress
from afterkernel.types import Float, Tensor


@dataclass(frozen=True)
class Grams:
    """Gram matrices, with what they cost and how exact they are.

    train (nk, nk) and test (mk, nk), k rows per sample (1 but for the full kernel of several outputs); layers: the same
    two for each layer if requested, whose sums they are (for the diagonal of several outputs, for each output).
    relative_error: the largest difference, over some 16
    samples, from the same gradients multiplied in float64, relative to the largest entry; None for x against y, and
    where no row block was computed here (another process's work); a store keeps the first one measured. ReLUs and
    pools that switch in float32 are not seen, as both sides use the same gradients: they cost up to 5.6e-4 on MNIST.
    """

    train: Float[Tensor, "square nk"]
    test: Float[Tensor, "mk nk"]
    layers: Mapping[str, tuple[Float[Tensor, "square nk"], Float[Tensor, "mk nk"]]]
    plan: Plan
    relative_error: float | None


@dataclass(frozen=True)
class GramOptions:
    """How Gram matrices are computed; the fields are arguments of `train_test_grams`."""

    budget_bytes: int = DEFAULT_BUDGET_BYTES
    dtype: str | torch.dtype | None = None
    per_layer: bool = False
    store: Path | str | None = None
    result_device: torch.device | str | None = None
    out: Out | None = None


def train_test_grams(  # noqa: PLR0913 (all but three by name)
    phi: Embedding,
    train: Batch,
    test: Batch | None = None,
    *,
    budget_bytes: int = DEFAULT_BUDGET_BYTES,
    dtype: str | torch.dtype | None = None,
    per_layer: bool = False,
    store: Path | str | None = None,
    result_device: torch.device | str | None = None,
    out: Out | None = None,
) -> Grams:
    """The Gram matrices train x train (symmetric) and test x train in one pass over blocks of training samples.

    Args:
        phi: what `embedding` gives.
        train, test: samples (n, ...) and (m, ...); without `test` its matrix has no rows.
        budget_bytes: bound on the memory in use at once, the result excluded.
        dtype: "tf32", "tf32x3" or "bf16" for other products of a float32 embedding (see `ntk`); those of its own data
            type by default.
        per_layer: also give every layer's matrices; those of every output where phi is of the "diagonal".
        store: a folder where tiles are kept as they are done, so that a killed computation continues from there.
        result_device: where the matrices lie; where phi computes by default.
        out: where train x train is written, as for `ntk`.

    Raises UserError as `ntk` does.
    """
    test = train[:0] if test is None else test
    check_samples(train)
    options = GramOptions(budget_bytes, dtype, per_layer, store, result_device, out)
    return _grams(phi, train, test, True, options)


def cross_grams(  # noqa: PLR0913 (all but three by name)
    phi: Embedding,
    x: Batch,
    y: Batch,
    *,
    budget_bytes: int = DEFAULT_BUDGET_BYTES,
    dtype: str | torch.dtype | None = None,
    per_layer: bool = False,
    store: Path | str | None = None,
    result_device: torch.device | str | None = None,
    out: Out | None = None,
) -> Grams:
    """The Gram matrix of x (rows) with y (columns), as `test` of the result, which is written to `out` if given.

    For arguments see `train_test_grams`.
    """
    check_samples(x, y)
    options = GramOptions(budget_bytes, dtype, per_layer, store, result_device, out)
    return _grams(phi, y, x, False, options)


@torch.inference_mode(False)
@torch.no_grad()
def paired_products(
    phi: Embedding, x: Batch, y: Batch, *, budget_bytes: int = DEFAULT_BUDGET_BYTES
) -> Float[Tensor, " n"]:
    """<phi(x_i), phi(y_i)> for n pairs of samples, summed over outputs, added up in float64: no n x n matrix is made.

    With y = x the squared lengths of the embeddings. Raises UserError as `ntk` does, and where x and y do not pair up.
    """
    check_samples(x, y)
    if len(x) != len(y):
        raise UserError(f"x has {len(x)} samples and y {len(y)}: give as many of each, one pair after the other.")
    samples = samples_to_pair(phi, x, budget_bytes)
    finite = FiniteCheck(phi.device, products=torch.float64)
    products = []
    with exact_products(), progress("Paired products", len(x)) as advance:
        for part in slices(0, len(x), samples):
            blocks = try_again(lambda part=part: (phi.block(x[part]), phi.block(y[part])))  # type: ignore[misc]
            for block in blocks:
                finite.add(block, part.start, "paired")
            products.append(blocks[0].paired_products(blocks[1]))
            advance(part.stop - part.start)
    finite.settle()
    return torch.cat(products)


def samples_to_pair(phi: Embedding, x: Batch, budget_bytes: int | None = None) -> int:
    """Plan phi for paired products, and give the samples to embed at once: a batch, if the budget holds two of them.

    The budget is by default that of the last Gram matrix of phi.
    """
    if budget_bytes is None:
        budget_bytes = getattr(phi, "budget_bytes", DEFAULT_BUDGET_BYTES)
    steps = _plan(GramInputs(phi, x, x, False, precision(phi.dtype)), budget_bytes, paired=True)
    return min(phi.samples_at_once, steps.columns_per_chunk)


def train_test_plan(
    phi: Embedding, train: Batch, test: Batch, budget_bytes: int, dtype: str | torch.dtype | None = None
) -> Plan:
    """The plan that `train_test_grams` will follow."""
    kind = precision(phi.dtype if dtype is None else dtype)
    return _plan(GramInputs(phi, train, test, True, kind), budget_bytes)


@torch.inference_mode(False)
@torch.no_grad()
def _grams(phi: Embedding, rows: Batch, others: Batch, symmetric: bool, options: GramOptions) -> Grams:
    kind = precision(phi.dtype if options.dtype is None else options.dtype)
    if kind.dtype != phi.dtype:
        raise UserError(f"dtype={kind.name} needs an embedding in {kind.dtype}, and this one is in {phi.dtype}.")
    inputs = GramInputs(phi, rows, others, symmetric, kind)
    check_place(options.out, options.store, phi, processes()[1])
    if options.out is None:
        return try_again(partial(_grams_of_one_layout, inputs, options))
    with ResultPlace(options.out) as result:
        return try_again(partial(_grams_of_one_layout, inputs, options, result))


def _grams_of_one_layout(inputs: GramInputs, options: GramOptions, result: ResultPlace | None = None) -> Grams:
    phi, n, m = inputs.phi, len(inputs.rows), len(inputs.others)
    rank, world = processes()
    folder = None if options.store is None else Path(options.store)
    if folder is not None and world > 1:
        folder /= f"{rank}-of-{world}"
    with exact_products(tf32=inputs.precision.tf32, split=inputs.precision.split):
        steps = _plan(inputs, options.budget_bytes, cell=TileStore.begun(folder))
        k = phi.outputs  # known once planned
        first = phi.block(inputs.rows[:1]) if options.per_layer else None
        names = [TOTAL, *(first.parts if first is not None else ())]
        store = None
        if folder is not None:
            side = -(-n // steps.columns_per_chunk)
            cells = side * inputs.symmetric - (-m // steps.columns_per_chunk), side
            store = TileStore(folder, _manifest(inputs, steps, names), cells)

        def matrices(what: str, height: int) -> dict[str, Tensor]:
            shape = (height, n * k)
            if store is None:
                place = torch.device(options.result_device or phi.device)
                if isinstance(first, OutputsApart):  # to be one result, without a copy
                    whole = torch.zeros(len(names), *shape, dtype=phi.dtype, device=place)
                    return dict(zip(names, whole, strict=True))
                given = result if (what == "train") == inputs.symmetric else None
                return {
                    name: torch.zeros(shape, dtype=phi.dtype, device=place)
                    if given is None or name != TOTAL
                    else given.matrix(shape, phi.dtype, place)
                    for name in names
                }
            return {name: store.matrix(f"{what}-{name}" if name else what, shape, phi.dtype) for name in names}

        train, test = matrices("train", n * k * inputs.symmetric), matrices("test", m * k)
        to_train, to_test = (TileWriter(part, phi.device, phi.dtype) for part in (train, test))
        finite = FiniteCheck(phi.device, per_layer=options.per_layer)
        computation = GramComputation(inputs, steps, to_train, to_test, store, finite)
        with progress("Gram matrix", steps.multiplications / world, unit="tile", units=computation.tiles) as advance:
            computation.run(advance)
        if world > 1:
            train, test = (
                {name: _summed(part if store is None else part.clone()) for name, part in parts.items()}
                for parts in (train, test)
            )
    layers = {name: (train[name], test[name]) for name in names if name != TOTAL}
    return Grams(train[TOTAL], test[TOTAL], layers, steps, computation.relative_error)


def _plan(inputs: GramInputs, budget_bytes: int, cell: int | None = None, *, paired: bool = False) -> Plan:
    """The plan of the Gram matrices, or of paired products; `cell` is the tile size of a store begun earlier."""
    phi = inputs.phi
    if isinstance(phi, (IndependenceChecked, DerivedEmbedding, SketchEmbedding)):
        phi.limit_work(budget_bytes)
    # The longer of the two shows more of whether samples depend on each other.
    layers = phi.plan_layers(max(inputs.rows, inputs.others, key=len), paired=paired)
    setting = Setting(
        symmetric=inputs.symmetric,
        rows_a_sample=phi.outputs,
        result_element_bytes=inputs.precision.dtype.itemsize,
        work_bytes=phi.work_bytes,
        workers=processes()[1],
        columns_at_once=batch_sizes(phi.device).columns,
        cell=cell,
    )
    element_bytes = inputs.precision.held.itemsize
    return plan(len(inputs.rows), len(inputs.others), layers, element_bytes, budget_bytes, setting)


def _manifest(inputs: GramInputs, steps: Plan, names: list[str]) -> dict[str, object]:
    """What the tiles of a store depend on. The first embedding's length represents what the network's code does."""
    phi = inputs.phi
    first = phi.block(inputs.rows[:1])
    length = first.paired_products(first).item()
    return {
        **phi.identity,
        "first_length_squared": f"{length:.3e}",
        "weights_sha256": fingerprint(phi.model.state_dict().items()),
        "data_sha256": fingerprint(chain(named_parts(inputs.rows, "rows"), named_parts(inputs.others, "others"))),
        "symmetric": inputs.symmetric,
        "dtype": inputs.precision.name,
        "rows_a_sample": phi.outputs,
        "methods": {layer.layer: layer.cost.method for layer in steps.layers},
        "layers_kept": names[1:],
        "samples_a_cell": steps.columns_per_chunk,
        "torch": torch.__version__,
        "device": phi.device.type,
    }


def _summed(matrix: Tensor) -> Tensor:
    """The sum over processes, each of which has its own tiles and zeros elsewhere, in place."""
    dist.all_reduce(matrix)
    return matrix


def check_samples(*inputs: Batch) -> None:
    """Raise UserError where an input has no sample."""
    for x in inputs:
        if (isinstance(x, Tensor) and x.ndim < 1) or len(x) == 0:
            raise UserError(f"a kernel needs at least one sample, and the input has shape {tuple(x.shape)}.")
