"""Support vectors of a run's kernels, kept with its records: where the SVM of the next snapshot starts.

So a run that was cut off goes on from the same starts, and ends with the same numbers.
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


def warm_start_path(run_dir: Path, epoch: int, evaluation_id: str) -> Path:
    """Where the supports of one snapshot and one evaluation lie."""
    return run_dir / "supports" / f"epoch={epoch:04d}.{evaluation_id}.json"


def sample_path(supports: Path) -> Path:
    """The file of a snapshot's sample Gram matrices, in the folder of its supports."""
    return supports.with_suffix(".npz")


def samples(run_dir: Path) -> list[Path]:
    """The Gram matrices of all samples of a run."""
    return sorted((run_dir / "supports").glob("*.npz"))


def write_warm_starts(path: Path, supports: Mapping[str, Int[Tensor, " _"]], owner: str) -> None:
    """Write the indices of the support vectors by kernel, with their owner: the run and weights that they are of."""
    path.parent.mkdir(exist_ok=True)
    kernels = {name: index.tolist() for name, index in supports.items()}
    write_atomic(path, json.dumps({"owner": owner, "kernels": kernels}))


def read_warm_starts(path: Path, n: int, owner: str) -> WarmStarts | None:
    """The supports by kernel among n samples; None where the file is missing, damaged or another owner's."""
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
