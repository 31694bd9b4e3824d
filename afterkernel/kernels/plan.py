"""The plan of a Gram matrix: which method each layer takes, how many samples are held at once, and what that costs.

A block of rows is collected and held; the rest of the samples are collected in chunks of columns, multiplied with the
block, and dropped. With R row blocks a sample is collected up to R times, so the block takes all the budget that the
chunk and the work space leave. Within a layer, gradients written out cost their number for each pair of samples; as
factors they cost (positions)^2 (inputs + outputs), and room for all factors (see `contract`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

from afterkernel.errors import UserError
from afterkernel.kernels.layers import Method, Shape
from afterkernel.kernels.machine import ON_CPU

DEFAULT_BUDGET_BYTES = 3 * 1024**3
# Rows of the Gram matrix that a tile on its diagonal is cut into: each strip ends at the diagonal.
ROWS_PER_STRIP = 256
# Share of the budget that the work space of collection may take.
WORK_SHARE = 4
# Samples that are held, at least, before work space takes more than half of the budget.
LEAST_HELD = 4
# Up to so many positions, gradients are written out from factors for each tile at little cost.
EXPANDED_POSITIONS = 32
# Of a chunk, at most this share is collected again at a time (see `independence`).
CHECKED_SHARE = 8


@dataclass(frozen=True)
class Cost:
    """What one method of one layer costs. Operations are multiply-adds of a matrix product or as much time."""

    method: Method
    numbers: int
    multiplications_a_pair: int
    operations_a_pair: float
    operations_a_sample: float


@dataclass(frozen=True)
class LayerPlan:
    """A layer's part of the plan: the method taken, what it costs, and why."""

    layer: str
    cost: Cost
    reason: str


@dataclass(frozen=True)
class Outputs:
    """Of a network: outputs that gradients are taken of, and rows of the Gram matrix per sample."""

    gradients: int = 1
    rows: int = 1


# The plan of a layer from its name, its sizes, the outputs, and the cost of an elementwise operation.
Choose = Callable[[str, Shape, Outputs, float], LayerPlan]


def costs(shape: Shape, outputs: Outputs, elementwise: float) -> list[Cost]:
    """What each method that fits a layer costs; `elementwise` as `machine.elementwise_cost` gives it."""
    k, rows = outputs.gradients, outputs.rows
    s, d, o, q, p = shape.positions, shape.inputs, shape.outputs, shape.groups, shape.parameters
    written = Cost("gradients", k * p, k * p * rows, k * p * rows, k * s * p)
    if shape.kind == "vector":
        return [written]
    if shape.kind == "lookup":
        both = s * s * k * rows
        return [written, Cost("factors", 4 * s + k * s * o, both * o, both * (o + 3 * elementwise), k * s * o)]
    passes = 1 if s == q == 1 else 3
    multiplications = q * s * s * (d + k * rows * o)
    factors = Cost(
        "factors",
        q * s * (d + k * o),
        multiplications,
        multiplications + passes * q * s * s * rows * rows * elementwise,
        q * s * (d + k * o),
    )
    return [written, factors]


def choose(layer: str, shape: Shape, outputs: Outputs, elementwise: float) -> LayerPlan:
    """The method of a layer that costs the least for each pair of samples, as pairs outnumber samples."""
    found = sorted(costs(shape, outputs, elementwise), key=lambda cost: cost.operations_a_pair)
    best = found[0]
    if len(found) == 1:
        return LayerPlan(layer, best, "a scale or shift: its gradient is small")
    other = found[1]
    few = shape.kind == "matrix" and shape.positions <= EXPANDED_POSITIONS
    if few and best.method == "gradients" and 2 * other.numbers <= best.numbers:
        cost = replace(other, method="expanded", multiplications_a_pair=best.multiplications_a_pair)
        held = f"by its factors, as which it is held: {best.numbers / other.numbers:.0f} times smaller"
        return LayerPlan(
            layer,
            replace(cost, operations_a_pair=best.operations_a_pair),
            f"{best.operations_a_pair:,.0f} operations per pair, {other.operations_a_pair:,.0f} {held}",
        )
    words = {"gradients": "its gradients written out", "factors": "its factors"}
    return LayerPlan(
        layer,
        best,
        f"{best.operations_a_pair:,.0f} operations per pair, {other.operations_a_pair:,.0f} by {words[other.method]}",
    )


def choose_for_pairs(layer: str, shape: Shape, outputs: Outputs, elementwise_cost: float) -> LayerPlan:
    """The method of a layer that costs the least for each sample, multiplied only with one other and itself."""
    found = costs(shape, outputs, elementwise_cost)
    best = min(found, key=lambda cost: _operations_a_pairing(cost, shape, outputs, elementwise_cost))
    return LayerPlan(layer, best, "the cheaper one to collect and multiply with one other sample")


def _operations_a_pairing(cost: Cost, shape: Shape, outputs: Outputs, elementwise_cost: float) -> float:
    """Collecting a sample and its two paired products, whose sums run through memory as elementwise operations do."""
    k, s, q = outputs.gradients, shape.positions, shape.groups
    if cost.method == "gradients":
        # Gradients written out are multiplied from factors that are also laid out, then read twice.
        return cost.operations_a_sample + (1 + 2) * cost.numbers * elementwise_cost
    inner = shape.inputs if shape.kind == "matrix" else 1
    products = q * s * s * (inner + k * shape.outputs)
    return cost.operations_a_sample + 2 * (products + (1 if s == q == 1 else 3) * q * s * s * k * elementwise_cost)


@dataclass(frozen=True)
class Plan:
    """Sizes of blocks and the cost they lead to."""

    n: int
    n_others: int
    rows_a_sample: int
    rows_per_block: int
    columns_per_chunk: int
    sample_bytes: int
    result_bytes: int
    collected: int
    pairs: int
    layers: tuple[LayerPlan, ...]

    @property
    def held_bytes(self) -> int:
        """Bytes of the row block and the column chunk."""
        return (self.rows_per_block + self.columns_per_chunk) * self.sample_bytes

    @property
    def multiplications(self) -> int:
        """Multiply-adds of all tiles."""
        return self.pairs * self.multiplications_a_pair

    @property
    def multiplications_a_pair(self) -> int:
        """Multiply-adds for one entry of the Gram matrix."""
        return max(1, sum(layer.cost.multiplications_a_pair for layer in self.layers))

    def describe(self, matmul_rate: float | None = None) -> str:
        """The plan in lines, with its reasons; with `matmul_rate`, multiply-adds per second, the products' time."""
        blocks = ceil(self.n / self.rows_per_block)
        gib = 1024**3
        lines = [
            f"samples            {self.n:,} and {self.n_others:,} against them",
            f"row blocks         {blocks} of up to {self.rows_per_block:,} samples, the most that the budget holds",
            f"column chunks      {self.columns_per_chunk:,} samples at a time",
            f"held               {self.held_bytes / gib:.2f} GiB at most, {self.sample_bytes:,} bytes per sample",
            f"result             {self.result_bytes / gib:.2f} GiB",
            f"samples collected  {self.collected:,}, {self.collected / max(1, self.n + self.n_others):.2f} times each",
            f"multiply-adds      {self.multiplications:.2e}",
        ]
        if matmul_rate is not None:
            lines.append(
                f"time of products   {self.multiplications / matmul_rate:.1f} s at this machine's measured "
                f"{matmul_rate / 1e9:.0f} G multiply-adds per second"
            )
        width = max((len(layer.layer) for layer in self.layers), default=0)
        lines += [
            f"  {layer.layer:{width}}  {layer.cost.method:9}  {layer.cost.numbers:>9,} numbers per sample: "
            f"{layer.reason}"
            for layer in self.layers
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Setting:
    """What a plan depends on apart from sizes and the budget.

    `result_element_bytes` is the size of a number of the result, by default that of a held one; `work_bytes` what
    collecting a batch takes in addition. Several `workers` get several row blocks each. A chunk has at most
    `columns_at_once` rows of the Gram matrix; `cell` fixes its samples, as a store begun earlier has it.
    """

    symmetric: bool = True
    rows_a_sample: int = 1
    result_element_bytes: int | None = None
    work_bytes: int = 0
    workers: int = 1
    columns_at_once: int = ON_CPU.columns
    cell: int | None = None


def plan(
    n: int,
    n_others: int,
    layers: Sequence[LayerPlan],
    element_bytes: int,
    budget_bytes: int,
    setting: Setting = Setting(),
) -> Plan:
    """Plan the Gram matrix of n samples with themselves (if `setting.symmetric`) and with `n_others` more.

    `layers` are the layers as they are held, `element_bytes` the size of a held number. Raises UserError where the
    budget does not hold the few samples that any tile needs.
    """
    symmetric, rows_a_sample, workers, cell = setting.symmetric, setting.rows_a_sample, setting.workers, setting.cell
    result_element_bytes = setting.result_element_bytes or element_bytes
    sample_bytes = element_bytes * max(1, sum(layer.cost.numbers for layer in layers))
    check_budget(budget_bytes, sample_bytes // element_bytes, element_bytes)
    # Work space of a single sample may be most of a budget; a budget of few samples keeps half for them.
    work = min(setting.work_bytes, max(budget_bytes // 2, budget_bytes - LEAST_HELD * sample_bytes))
    held = max(2, (budget_bytes - work) // sample_bytes)
    # Of numbers that are held in less than they are collected in, a chunk lies in memory in both.
    wide = result_element_bytes // element_bytes
    columns = max(1, min(setting.columns_at_once // rows_a_sample, held // (4 * wide), max(n, n_others)))
    if cell is not None:
        if held < 2 * cell:
            raise UserError(
                f"budget_bytes={budget_bytes} is too small to continue with a store begun in tiles of {cell} "
                f"samples: give at least {-(-8 * cell * sample_bytes // 3)}."
            )
        columns = cell
    # Samples that are collected again to check that they do not depend on their batch, with copies of their own.
    checked = wide * max(1, 2 * (columns // CHECKED_SHARE)) + (columns * wide if wide > 1 else 0)
    rows = max(1, min(n, held - columns - checked))
    if workers > 1:
        rows = min(rows, max(1, ceil(n / (2 * workers))))
    columns = min(columns, rows) if cell is None else columns
    if rows < n:  # blocks end where cells of a store do
        rows = max(1, rows // columns) * columns
    collected = pairs = 0
    for start in range(0, n, rows):
        block = min(rows, n - start)
        later = n - start - block if symmetric else 0
        collected += block + later + n_others
        pairs += block * (later + n_others)
        if symmetric:
            pairs += sum(
                tile * min(columns, block - tile) + diagonal_pairs(min(columns, block - tile), rows_a_sample)
                for tile in range(0, block, columns)
            )
    return Plan(
        n=n,
        n_others=n_others,
        rows_a_sample=rows_a_sample,
        rows_per_block=rows,
        columns_per_chunk=columns,
        sample_bytes=sample_bytes,
        result_bytes=(n * n * symmetric + n * n_others) * rows_a_sample**2 * result_element_bytes,
        collected=collected,
        pairs=pairs,
        layers=tuple(layers),
    )


def strips(side: int, rows_a_sample: int) -> Iterator[slice]:
    """The strips of samples that a tile on the diagonal is cut into."""
    step = max(1, ROWS_PER_STRIP // rows_a_sample)
    for start in range(0, side, step):
        yield slice(start, min(start + step, side))


def diagonal_pairs(side: int, rows_a_sample: int) -> int:
    """Pairs of samples that are multiplied in a tile on the diagonal."""
    return sum((strip.stop - strip.start) * strip.stop for strip in strips(side, rows_a_sample))


def check_budget(budget_bytes: int, numbers: int, element_bytes: int) -> None:
    """Raise UserError where a budget does not hold two embeddings of that many numbers."""
    needed = 2 * numbers * element_bytes
    if budget_bytes < needed:
        raise UserError(
            f"budget_bytes={budget_bytes} is too small: two embeddings of {numbers} numbers need {needed} bytes."
        )


def merged(plans: Sequence[LayerPlan]) -> tuple[LayerPlan, ...]:
    """Plans of several units of one layer, named apart."""
    seen = Counter[str]()
    out = []
    for part in plans:
        seen[part.layer] += 1
        out.append(part if seen[part.layer] == 1 else replace(part, layer=f"{part.layer} ({seen[part.layer]})"))
    return tuple(out)
