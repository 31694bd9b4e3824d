"""A Gram matrix on disk, tile by tile, so that a killed computation continues where it stopped.

A folder of memory-mapped `.npy` files, one per matrix; `manifest.json`, which says what they are the Gram matrices of;
`done.npy`, one mark per cell, set after the cell is on disk; and `error.json`, the error measured on the first block,
so that a computation that was stopped reports the same. With another manifest the folder is refused and left untouched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from afterkernel.errors import UserError
from afterkernel.files.reading import read_text
from afterkernel.types import Tensor

MANIFEST, DONE, ERROR = "manifest.json", "done.npy", "error.json"
FORMAT = 1


class TileStore:
    """Matrices that outlive the process. Rows of `done` count cells of all columns' samples, columns those of the rows.

    Raises UserError where the folder holds something else: another job's tiles, a damaged file, or a later format.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any], cells: tuple[int, int]) -> None:
        self.folder = folder
        manifest = {"format": FORMAT, **manifest}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"store={folder} can't be a folder: {error.strerror}; name another.") from error
        path = folder / MANIFEST
        if path.exists():
            _check(path, manifest)
        else:
            others = [entry.name for entry in folder.iterdir() if entry.name != DONE and entry.suffix != ".part"]
            if others:
                raise UserError(f"store={folder} holds {others[0]} but no {MANIFEST}: name an empty folder.")
            np.save(folder / DONE, np.zeros(cells, dtype=np.uint8))
            _write_atomic(path, json.dumps(manifest, indent=1))
        self._done = _open(folder / DONE, cells, np.dtype(np.uint8))
        self._maps: dict[str, np.memmap[Any, Any]] = {}

    def matrix(self, name: str, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
        """A matrix of the store, made if it is not there; writing to it writes to disk."""
        path = self.folder / f"{name}.npy"
        kind = np.dtype(str(dtype).removeprefix("torch."))
        if 0 in shape:
            return torch.empty(shape, dtype=dtype)
        if not path.exists() and not self._done.any():
            part = path.with_suffix(".part")
            np.lib.format.open_memmap(part, mode="w+", dtype=kind, shape=shape).flush()
            part.replace(path)
        self._maps[name] = _open(path, shape, kind)
        return torch.from_numpy(self._maps[name])

    def is_done(self, cells: tuple[slice, slice]) -> bool:
        """Whether all cells of a tile are on disk."""
        return bool(self._done[cells].all())

    def mark(self, cells: tuple[slice, slice]) -> None:
        """Put what was written on disk, then mark the cells of a tile as done."""
        for written in self._maps.values():
            written.flush()
        self._done[cells] = 1
        self._done.flush()

    @property
    def relative_error(self) -> float | None:
        """What an earlier process measured on its first block; None where none did."""
        try:
            found = json.loads(read_text(self.folder / ERROR))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, float) else None

    @relative_error.setter
    def relative_error(self, value: float) -> None:
        _write_atomic(self.folder / ERROR, json.dumps(value))

    @staticmethod
    def begun(folder: Path | None) -> int | None:
        """Samples a cell of a store begun earlier, if any."""
        if folder is None:
            return None
        try:
            found = json.loads(read_text(folder / MANIFEST))
            return int(found["samples_a_cell"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def fingerprint(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 of named tensors: names, types, shapes and numbers."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        plain = tensor.detach().cpu().contiguous()
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check(path: Path, manifest: Mapping[str, Any]) -> None:
    try:
        found = json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read ({error}): remove the folder to start over.") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is not a manifest: remove the folder to start over.")
    wanted = json.loads(json.dumps(manifest))
    for key in wanted.keys() | found.keys():
        if found.get(key) != wanted.get(key):
            raise UserError(
                f"store={path.parent} holds the tiles of another job: its {key.replace('_', ' ')} is {found.get(key)}, "
                f"not {wanted.get(key)}; remove it or name another folder."
            )


def _open(path: Path, shape: tuple[int, int], kind: np.dtype[Any]) -> np.memmap[Any, Any]:
    try:
        np.lib.format.open_memmap(path, mode="r")  # refuses a file that is too short; "r+" would lengthen it
        found = np.lib.format.open_memmap(path, mode="r+")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing or damaged ({error}): remove its folder to start over.") from error
    if found.shape != shape or found.dtype != kind:
        raise UserError(
            f"{path} has shape {found.shape} of {found.dtype}, not {shape} of {kind}: remove its folder to start over."
        )
    return found


def _write_atomic(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)
