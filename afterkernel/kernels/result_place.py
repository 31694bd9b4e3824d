"""Where a Gram matrix is written: memory of the caller's, or a file that is as large as the matrix."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from afterkernel.errors import UserError
from afterkernel.kernels.protocols import Embedding
from afterkernel.types import Tensor

# A path of a new file, or a matrix to write into.
Out = Path | str | Tensor | np.ndarray


class ResultPlace:
    """The place of one result, within which it is computed; a new file has its name only once it is complete.

    Raises UserError where the file exists or does not fit on the disk, or where a matrix is not like the result.
    """

    def __init__(self, out: Out) -> None:
        self._out = out
        self._path = Path(out) if isinstance(out, (str, os.PathLike)) else None
        self._matrix: Tensor | None = None
        if self._path is not None and self._path.exists():
            raise UserError(f"out={out} exists: name a new file.")

    def matrix(self, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """The matrix of this shape and type to write to: the same in each call."""
        if self._matrix is None:
            self._matrix = self._given(shape, dtype, device) if self._path is None else self._new_file(shape, dtype)
        return self._matrix

    def __enter__(self) -> ResultPlace:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._path is None or self._matrix is None:
            return
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)

    @property
    def _part(self) -> Path:
        assert self._path is not None
        return self._path.with_name(f"{self._path.name}.part")

    def _given(self, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
        out: Any = self._out
        if isinstance(out, np.ndarray) and not out.flags.writeable:
            raise UserError("out= is a read-only array: open the memory map with mode='r+', or give a path.")
        matrix = torch.from_numpy(out) if isinstance(out, np.ndarray) else out
        if not isinstance(matrix, Tensor):
            raise UserError(f"out={out!r} is not a place for a matrix: give the path of a new file or a tensor.")
        if tuple(matrix.shape) != shape or matrix.dtype != dtype:
            found, wanted = (_described(*each) for each in ((tuple(matrix.shape), matrix.dtype), (shape, dtype)))
            raise UserError(f"out= is {found}, and the result is {wanted}: give a matrix like that, or a path.")
        if matrix.requires_grad or matrix.device.type not in ("cpu", device.type):
            raise UserError(f"out= is on {matrix.device} or requires a gradient: give a plain matrix on the CPU.")
        return matrix

    def _new_file(self, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
        kind: np.dtype[Any] = np.dtype(str(dtype).removeprefix("torch."))
        try:
            matrix = np.lib.format.open_memmap(self._part, mode="w+", dtype=kind, shape=shape)
            with self._part.open("r+b") as file:  # writing to a memory map of a full disk would end the process
                _allocate(file.fileno(), os.fstat(file.fileno()).st_size)
        except OSError as error:
            self._part.unlink(missing_ok=True)
            needed = shape[0] * shape[1] * kind.itemsize
            raise UserError(f"out={self._out} can't be made with {needed} bytes: {error.strerror}.") from error
        return torch.from_numpy(matrix)


def check_place(out: object, store: object, phi: Embedding, processes: int) -> None:
    """Raise UserError where the result of an embedding can't be written to a given place."""
    if out is None:
        return
    if store is not None:
        raise UserError("out= and store= are both given: store= keeps the matrix in its folder already.")
    if phi.identity.get("output") in ("full", "diagonal"):
        raise UserError(
            f'out= can\'t hold output="{phi.identity["output"]}", of several numbers for each pair: leave it out.'
        )
    if processes > 1:
        raise UserError("out= is of one process: use store= with torch.distributed, which has a folder for each.")


def _allocate(file: int, size: int) -> None:
    allocate: Callable[[int, int, int], None] | None = getattr(os, "posix_fallocate", None)
    if allocate is not None:
        allocate(file, 0, size)


def _described(shape: tuple[int, ...], dtype: torch.dtype) -> str:
    return f"{shape} in {str(dtype).removeprefix('torch.')}"
