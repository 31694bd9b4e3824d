"""The history that measures need: Gram matrices of the sample at two earlier epochs."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from afterkernel.files.reading import read_bytes
from afterkernel.records.files import write_atomic
from afterkernel.types import Float, Tensor

_PLACE, _EPOCH, _SAMPLE, _OWNER, _GRAM = "epoch", "fractional_epoch", "sample", "owner", "gram "


@dataclass(frozen=True)
class HistoryEntry:
    """The sample's Gram matrices of one snapshot, by kernel, or KERNEL/LAYER; `sample` identifies the images.

    Snapshots are ordered by their step where it is given, and else by their epoch, which may then not be None.
    """

    epoch: float | None
    sample: str
    grams: Mapping[str, Float[Tensor, "n n"]]
    step: int | None = None

    @property
    def place(self) -> float:
        """The step or the epoch by which snapshots are ordered; 0 is the initialisation."""
        place = self.epoch if self.step is None else self.step
        assert place is not None
        return place


class MeasureState:
    """The sample's Gram matrices at initialisation (place 0) and at the previous snapshot.

    An interrupted run that continues must `load` what was saved for each snapshot that it skips, in order; then it ends
    with the same numbers, bit for bit.
    """

    def __init__(self) -> None:
        self.initial: HistoryEntry | None = None
        self.previous: HistoryEntry | None = None

    def update(self, snapshot: HistoryEntry) -> None:
        """Take the next snapshot."""
        if snapshot.place == 0:
            self.initial = snapshot
        self.previous = snapshot

    def save(self, path: Path, owner: str = "") -> None:
        """Write the previous snapshot, whole or not at all. A symmetric matrix takes n (n + 1) / 2 numbers.

        `owner` names the run and the weights that it is of.
        """
        if self.previous is None:
            return
        arrays = {_GRAM + name: packed(gram) for name, gram in self.previous.grams.items()}
        buffer = io.BytesIO()
        facts: dict[str, object] = {_PLACE: int(self.previous.place), _SAMPLE: self.previous.sample, _OWNER: owner}
        if self.previous.step is not None:
            facts[_EPOCH] = np.nan if self.previous.epoch is None else float(self.previous.epoch)
        arrays |= {name: np.asarray(value) for name, value in facts.items()}
        np.savez(buffer, allow_pickle=False, **arrays)
        write_atomic(path, buffer.getvalue())

    def load(self, path: Path, place: int, owner: str = "") -> bool:
        """Take the saved snapshot; False if there is none of that place and owner, or the file is damaged."""
        try:
            with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as arrays:
                found, sample, of = int(arrays[_PLACE]), str(arrays[_SAMPLE]), str(arrays[_OWNER])
                epoch: float = found
                step: int | None = None
                if _EPOCH in arrays.files:
                    epoch, step = float(arrays[_EPOCH]), found
                grams = {
                    name.removeprefix(_GRAM): unpacked(arrays[name]) for name in arrays.files if name.startswith(_GRAM)
                }
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return False
        if (found, of) != (place, owner) or not grams:
            return False
        self.update(HistoryEntry(None if np.isnan(epoch) else epoch, sample, grams, step))
        return True


def packed(gram: Float[Tensor, "n n"]) -> np.ndarray:
    """The upper triangle of a symmetric matrix, row by row."""
    return gram.cpu().numpy()[np.triu_indices(len(gram))]


def unpacked(values: np.ndarray) -> Float[Tensor, "n n"]:
    """The symmetric matrix of an upper triangle. ValueError for what is none, or not finite."""
    n = int(np.sqrt(2 * values.size))
    if values.ndim != 1 or values.dtype not in (np.float32, np.float64) or n * (n + 1) != 2 * values.size:
        raise ValueError("no upper triangle")
    if not np.isfinite(values).all():
        raise ValueError("not finite")
    matrix = np.zeros((n, n), values.dtype)
    matrix[np.triu_indices(n)] = values
    return torch.from_numpy(matrix + np.triu(matrix, 1).T)
