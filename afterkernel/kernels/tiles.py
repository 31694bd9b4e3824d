"""Computes the tiles of a Gram matrix and copies them to the device of the matrix."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from afterkernel.kernels.machine import batch_sizes
from afterkernel.kernels.plan import strips
from afterkernel.kernels.terms import Block
from afterkernel.types import Float, Tensor

TOTAL = ""  # the name of the sum over parts


def fill(columns: Block, rows: Block, out: Mapping[str, Float[Tensor, "mk nk"]], outputs: int) -> None:
    """Write the products of `columns` (down) with `rows` (across) into out[TOTAL], and each part's into out[part]."""
    parts = [name for name in out if name != TOTAL]
    height = max(1, batch_sizes(out[TOTAL].device).rows // outputs)
    for start in range(0, len(rows), height):
        part = slice(start, min(start + height, len(rows)))
        across = slice(part.start * outputs, part.stop * outputs)
        right = rows[part]
        total = out[TOTAL][:, across]
        total.zero_()
        if not parts:
            columns.add_products(right, total)
        for name in parts:
            tile = out[name][:, across]
            tile.zero_()
            for left, terms in zip(columns.part(name), right.part(name), strict=True):
                left.add_products(terms, tile)
            total += tile


def fill_lower(block: Block, out: Mapping[str, Float[Tensor, "nk nk"]], outputs: int) -> None:
    """Write the products of a block with itself, on and below the diagonal; entries above it are undefined."""
    for strip in strips(len(block), outputs):
        down, across = slice(strip.start * outputs, strip.stop * outputs), slice(0, strip.stop * outputs)
        parts = {name: tile[down, across] for name, tile in out.items()}
        fill(block[strip], block[slice(0, strip.stop)], parts, outputs)


class TileWriter:
    """The matrices that tiles are written to; on another device than the products, by way of pinned buffers.

    Copies from a GPU run on a separate stream, in parallel with the next tile's products; a buffer is
    waited for only when it is used again.
    """

    def __init__(self, matrices: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> None:
        self.matrices, self._device, self._dtype = matrices, device, dtype
        first = next(iter(matrices.values()))
        # "cuda" and "cuda:0" are one device: a tensor knows its number.
        self._direct = first.device == torch.empty(0, device=device).device
        self._pending: list[tuple[torch.cuda.Event, dict[str, Tensor], slice, slice, bool]] = []

    def write(self, columns: Block, rows: Block, down: slice, across: slice, outputs: int, *, mirrored: bool) -> None:
        """Compute the tile at [down, across]; where `mirrored`, also write its transpose at [across, down]."""

        def compute(tiles: Mapping[str, Tensor]) -> None:
            if mirrored and down == across:
                fill_lower(columns, tiles, outputs)
            else:
                fill(columns, rows, tiles, outputs)

        if self._direct:
            tiles = {name: matrix[down, across] for name, matrix in self.matrices.items()}
            compute(tiles)
            if mirrored:
                for name, matrix in self.matrices.items():
                    _mirror(matrix, tiles[name], down, across)
            return
        shape = (down.stop - down.start, across.stop - across.start)
        tiles = {name: torch.empty(shape, device=self._device, dtype=self._dtype) for name in self.matrices}
        compute(tiles)
        if self._device.type == "cuda":
            self._copy_beside(tiles, down, across, mirrored)
        else:
            self._place(tiles, down, across, mirrored)

    def _copy_beside(self, tiles: dict[str, Tensor], down: slice, across: slice, mirrored: bool) -> None:
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        host = {name: torch.empty(tile.shape, dtype=tile.dtype, pin_memory=True) for name, tile in tiles.items()}
        with torch.cuda.stream(stream):
            for name, tile in tiles.items():
                tile.record_stream(stream)
                host[name].copy_(tile, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(stream)
        self._pending.append((event, host, down, across, mirrored))
        if len(self._pending) > 2:
            self._settle_one()

    def _settle_one(self) -> None:
        event, host, down, across, mirrored = self._pending.pop(0)
        event.synchronize()
        self._place(host, down, across, mirrored)

    def settle(self) -> None:
        """Wait until every tile is in its matrix."""
        while self._pending:
            self._settle_one()

    def _place(self, tiles: Mapping[str, Tensor], down: slice, across: slice, mirrored: bool) -> None:
        for name, matrix in self.matrices.items():
            target = matrix[down, across]
            target.copy_(tiles[name])
            if mirrored:
                _mirror(matrix, target, down, across)


def _mirror(matrix: Tensor, tile: Tensor, down: slice, across: slice) -> None:
    """Write a tile's mirror image. A tile on the diagonal keeps its lower half; off it, nothing overlaps."""
    if down == across:
        lower = tile.tril()
        tile.copy_(lower + lower.tril(-1).T)
    else:
        matrix[across, down] = tile.T
