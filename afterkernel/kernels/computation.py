"""One computation of Gram matrices: row blocks in turn, chunks past each, tiles that a store has left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.distributed as dist

from afterkernel.kernels.embedding import Embedding
from afterkernel.kernels.finite import FiniteCheck
from afterkernel.kernels.plan import Plan, diagonal_pairs
from afterkernel.kernels.precision import Precision, exact_products
from afterkernel.kernels.samples import Batch
from afterkernel.kernels.store import TileStore
from afterkernel.kernels.terms import Block
from afterkernel.kernels.tiles import TileWriter
from afterkernel.progress.work import Advance

ERROR_SAMPLES = 16
ERROR_BYTES = 1 << 27


@dataclass(frozen=True)
class GramInputs:
    """What is multiplied: `rows` (n, ...) with each other where `symmetric`, and with `others` (m, ...)."""

    phi: Embedding
    rows: Batch
    others: Batch
    symmetric: bool
    precision: Precision


class GramComputation:
    """One computation of Gram matrices, tile by tile.

    Rows are held in blocks; the rows after a block and all others are streamed past it in chunks. Results go to
    `train` (n, n) and `test` (m, n), in units of samples; `store`, where there is one, notes which tiles are done.
    """

    def __init__(
        self,
        inputs: GramInputs,
        plan: Plan,
        train: TileWriter,
        test: TileWriter,
        store: TileStore | None,
        finite: FiniteCheck,
    ) -> None:
        self.inputs, self.plan, self.train, self.test = inputs, plan, train, test
        self.store, self.finite = store, finite
        self.relative_error = None if store is None else store.relative_error

    def _collect(self, x: Batch, part: slice, what: str, out: Block | None) -> Block:
        """Collect samples, into `out` if given (fresh memory costs more than what is written to it)."""
        precision = self.inputs.precision
        as_held = precision.held == precision.dtype
        block = self.inputs.phi.block(x[part], out if as_held else None)
        self.finite.add(block, part.start, what)
        if as_held:
            return block
        if out is None:
            return block.to(precision.held)
        out.put(0, block)
        return out

    @cached_property
    def _chunk_memory(self) -> Block:
        return self._block_memory.empty_like(self.plan.columns_per_chunk)

    @cached_property
    def _block_memory(self) -> Block:
        first = self.inputs.phi.block(self.inputs.rows[:1]).to(self.inputs.precision.held)
        return first.empty_like(self.plan.rows_per_block)

    @property
    def tiles(self) -> int:
        """How many tiles this process computes, and how often `run` advances."""
        return sum(len(part) for block in share(self._blocks) for part in self._tiles(block))

    @property
    def _blocks(self) -> list[slice]:
        return list(slices(0, len(self.inputs.rows), self.plan.rows_per_block))

    def _tiles(self, block: slice) -> tuple[list[slice], list[tuple[bool, slice]]]:
        """The tiles on the diagonal of a row block, and the chunks past it: of the rows (True) or the others."""
        n, size, symmetric = len(self.inputs.rows), self.plan.columns_per_chunk, self.inputs.symmetric
        chunks = [(True, chunk) for chunk in slices(block.stop, n, size)] if symmetric else []
        chunks += [(False, chunk) for chunk in slices(0, len(self.inputs.others), size)]
        return list(slices(block.start, block.stop, size)) if symmetric else [], chunks

    def run(self, advance: Advance) -> None:
        """Every row block of this process, in turn."""
        for block in share(self._blocks):
            diagonal, chunks = self._tiles(block)
            left = [(trains, chunk) for trains, chunk in chunks if not self._is_done(trains, chunk, block)]
            diagonal_left = [tile for tile in diagonal if not self._is_done(True, tile, slice(block.start, tile.stop))]
            for trains, chunk in chunks:
                if (trains, chunk) not in left:
                    advance(self._operations(chunk, block))
            for tile in diagonal:
                if tile not in diagonal_left:
                    advance(self._diagonal_operations(tile, block))
            if left or diagonal_left:
                self._block(block, diagonal_left, left, advance)
            self._settle()

    def _block(self, block: slice, diagonal: list[slice], chunks: list[tuple[bool, slice]], advance: Advance) -> None:
        inputs, k = self.inputs, self.inputs.phi.outputs
        rows = self._held(block)
        if self.relative_error is None and inputs.symmetric:
            first = inputs.rows[slice(block.start, min(block.stop, block.start + ERROR_SAMPLES))]
            few = rows[slice(0, max(1, min(ERROR_SAMPLES, self.plan.columns_per_chunk)))]
            self.relative_error = relative_error(inputs.phi, first, few, inputs.precision)
            if self.store is not None:
                self.store.relative_error = self.relative_error
        for tile in diagonal:
            columns = rows[shifted(tile, -block.start)]
            before = slice(block.start, tile.start)
            if tile.start > block.start:
                left = rows[shifted(before, -block.start)]
                self.train.write(columns, left, times(tile, k), times(before, k), k, mirrored=True)
            self.train.write(columns, columns, times(tile, k), times(tile, k), k, mirrored=True)
            self._mark(True, tile, slice(block.start, tile.stop))
            advance(self._diagonal_operations(tile, block))
        for trains, chunk in chunks:
            samples, what = (inputs.rows, "train") if trains else (inputs.others, "other")
            columns = self._collect(samples, chunk, what, self._chunk_memory[slice(0, chunk.stop - chunk.start)])
            writer = self.train if trains else self.test
            writer.write(columns, rows, times(chunk, k), times(block, k), k, mirrored=trains)
            self._mark(trains, chunk, block)
            advance(self._operations(chunk, block))

    def _held(self, block: slice) -> Block:
        """The row block, collected a chunk at a time; a single chunk needs no memory to be put together in."""
        rows, size = self.inputs.rows, self.plan.columns_per_chunk
        if len(rows) <= size:
            return self._collect(rows, block, "train", None)
        for part in slices(block.start, block.stop, size):
            self._collect(rows, part, "train", self._block_memory[shifted(part, -block.start)])
        return self._block_memory[slice(0, block.stop - block.start)]

    def _operations(self, down: slice, across: slice) -> int:
        pairs: int = (down.stop - down.start) * (across.stop - across.start)
        return pairs * self.plan.multiplications_a_pair

    def _diagonal_operations(self, tile: slice, block: slice) -> int:
        """Of a tile with itself and with what is before it in its block."""
        pairs = diagonal_pairs(tile.stop - tile.start, self.inputs.phi.outputs) * self.plan.multiplications_a_pair
        return pairs + self._operations(tile, slice(block.start, tile.start))

    def _cells(self, trains: bool, down: slice, across: slice) -> tuple[slice, slice]:
        """The store's cells of a tile: those of the rows first, where there are any, then those of the others."""
        size = self.plan.columns_per_chunk
        above = 0 if trains or not self.inputs.symmetric else -(-len(self.inputs.rows) // size)
        first, last = down.start // size, -(-down.stop // size)
        return slice(above + first, above + last), slice(across.start // size, -(-across.stop // size))

    def _is_done(self, trains: bool, down: slice, across: slice) -> bool:
        return self.store is not None and self.store.is_done(self._cells(trains, down, across))

    def _mark(self, trains: bool, down: slice, across: slice) -> None:
        if self.store is not None:
            self._settle()
            self.store.mark(self._cells(trains, down, across))

    def _settle(self) -> None:
        """Wait until every tile is written and every check has its answer."""
        self.train.settle()
        self.test.settle()
        self.finite.settle()


def relative_error(phi: Embedding, x: Batch, rows: Block, kind: Precision) -> float:
    """Error of the Gram matrix of the first samples x of `rows`, against exact gradients multiplied in float64.

    The largest difference relative to the largest entry.
    """
    largest = max(term.bytes for terms in rows[slice(0, 1)].layers.values() for term in terms)
    part = slice(0, max(1, min(ERROR_SAMPLES, len(rows), ERROR_BYTES // (2 * largest))))
    held = rows[part]
    side = (part.stop - part.start) * phi.outputs
    K = torch.zeros(side, side, dtype=phi.dtype, device=phi.device)
    held.add_products(held, K)
    if not kind.exact:
        with exact_products():
            held = phi.block(x[part])
    exact = torch.zeros(side, side, dtype=torch.float64, device=phi.device)
    for name in held.parts:
        for term in held.part(name):  # one at a time: all of them in float64 would take twice the samples' memory
            double = term.to(torch.float64)
            double.add_products(double, exact)
    scale = exact.abs().max()
    return ((K - exact).abs().max() / scale).item() if scale > 0 else 0.0


def processes() -> tuple[int, int]:
    """This process's rank and the number of processes of `torch.distributed`; (0, 1) without."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def share(blocks: list[slice]) -> list[slice]:
    """This process's row blocks. Early blocks meet more columns, so that turns go to and fro."""
    rank, world = processes()
    turns = [*range(world), *reversed(range(world))]
    return [block for i, block in enumerate(blocks) if turns[i % len(turns)] == rank]


def slices(start: int, stop: int, step: int) -> Iterator[slice]:
    """Consecutive slices of at most `step`."""
    for first in range(start, stop, step):
        yield slice(first, min(first + step, stop))


def shifted(part: slice, by: int) -> slice:
    """A slice moved."""
    return slice(part.start + by, part.stop + by)


def times(part: slice, rows: int) -> slice:
    """A slice of samples as rows of the Gram matrix."""
    return slice(part.start * rows, part.stop * rows)
