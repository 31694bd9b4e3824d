"""Support vectors of a run's kernels, from which the SVMs of the next snapshot start.

RUN/supports/step=0045.EVALUATION_ID.json    indices of the support vectors by kernel
RUN/supports/step=0045.EVALUATION_ID.npz     Gram matrices of the sample that measures compare later snapshots with

They are stored so that an interrupted run continues from the same starts and ends with the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from afterkernel.files.reading import read_text
from afterkernel.records import write_atomic
from afterkernel.types import Int, Tensor

WarmStarts = dict[str, Int[Tensor, " _"]]


def warm_start_path(run_dir: Path, step: int, evaluation_id: str) -> Path:
    """The file of the support vectors of one snapshot and evaluation."""
    return run_dir / "supports" / f"step={step:04d}.{evaluation_id}.json"


def sample_path(supports: Path) -> Path:
    """The file of a snapshot's sample Gram matrices, next to its support vectors."""
    return supports.with_suffix(".npz")


def samples(run_dir: Path) -> list[Path]:
    """The files of all sample Gram matrices of a run."""
    return sorted((run_dir / "supports").glob("*.npz"))


def write_warm_starts(path: Path, supports: Mapping[str, Int[Tensor, " _"]], owner: str) -> None:
    """Write the indices of the support vectors by kernel (KERNEL/LABEL of several classes), with run and weights."""
    path.parent.mkdir(exist_ok=True)
    kernels = {name: index.tolist() for name, index in supports.items()}
    write_atomic(path, json.dumps({"owner": owner, "kernels": kernels}))


def read_warm_starts(path: Path, n: int, owner: str) -> WarmStarts | None:
    """The support vectors by kernel among n samples; None if the file is missing, damaged or another owner's."""
    try:
        held = json.loads(read_text(path))
        if held["owner"] != owner:
            return None
        found = {name: torch.tensor(index, dtype=torch.int64) for name, index in held["kernels"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError):
        return None
    if any(index.ndim != 1 or bool(((index < 0) | (index >= n)).any()) for index in found.values()):
        return None
    return found
