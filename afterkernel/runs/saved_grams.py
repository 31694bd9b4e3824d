"""Gram matrices that a run keeps on request (keep=[gram]), with a manifest and checksums.

RUN_DIR/kernels/step=0045.EVALUATION_ID.ntk.train.npy    train x train, normalised
RUN_DIR/kernels/step=0045.EVALUATION_ID.ntk.test.npy     test x train, normalised
RUN_DIR/kernels/labels.train.npy, labels.test.npy         classes 0, 1, ...
RUN_DIR/kernels/manifest.json                             version; of each file shape, dtype, bytes and SHA-256
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from afterkernel.errors import UserError
from afterkernel.records.files import KERNELS_FOLDER, check_name, write_atomic
from afterkernel.text import plain
from afterkernel.types import Float, Int, Tensor

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1
_BYTES_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class SavedGrams:
    """Gram matrices of one kernel of one snapshot, memory-mapped and read-only, divided by `normalisation`^2.

    train (n, n): training images with each other; test (m, n): test images with training images; y_train (n,) and
    y_test (m,): classes 0, 1, ...; `normalisation` is Z = 1e-4 + the mean over the training set of |phi(x)|.
    """

    train: Float[np.ndarray, "n n"]
    test: Float[np.ndarray, "m n"]
    y_train: Int[np.ndarray, " n"]
    y_test: Int[np.ndarray, " m"]
    normalisation: float
    evaluation_id: str


@dataclass(frozen=True)
class SavedKernel:
    """Which kernel of which snapshot and evaluation two Gram matrices are of; `normalisation` is Z.

    `epoch` is the step where the epoch is not known.
    """

    epoch: float
    step: int
    evaluation_id: str
    kernel: str
    normalisation: float


def save_grams(
    run_dir: Path | str,
    kept: SavedKernel,
    train: Float[Tensor, "n n"],
    test: Float[Tensor, "m n"],
    y_train: Int[Tensor, " n"],
    y_test: Int[Tensor, " m"],
) -> None:
    """Write the Gram matrices of one kernel of one snapshot and add them to the manifest; no matrix is copied.

    UserError if the manifest that is there is damaged.
    """
    folder = Path(run_dir) / KERNELS_FOLDER
    stem = f"step={kept.step:04d}.{check_name('evaluation_id', kept.evaluation_id)}.{check_name('kernel', kept.kernel)}"
    files = check_manifest(run_dir)
    for split, matrix, classes in (("train", train, y_train), ("test", test, y_test)):
        files[f"{stem}.{split}.npy"] = asdict(kept) | {"split": split, **_write(folder / f"{stem}.{split}.npy", matrix)}
        files[f"labels.{split}.npy"] = {"split": split, **_write(folder / f"labels.{split}.npy", classes)}
    manifest = {"version": MANIFEST_VERSION, "files": files}
    write_atomic(folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def saved_grams(run_dir: Path | str, epoch: float, kernel: str, evaluation_id: str | None = None) -> SavedGrams:
    """The Gram matrices that a run kept of one kernel ("ntk" or "conjugate") at one epoch (`epoch` of its record).

    `evaluation_id` is needed where several evaluations kept theirs. Every file is read once to compare its checksum.
    UserError if they were not kept, or a file is missing, damaged or of a later version.
    """
    folder = Path(run_dir) / KERNELS_FOLDER
    files = _manifest(folder)
    found = {
        facts["evaluation_id"]: (name.removesuffix(f".{facts['split']}.npy"), facts["normalisation"])
        for name, facts in files.items()
        if (facts.get("epoch"), facts.get("kernel")) == (epoch, kernel)
    }
    if evaluation_id is None and len(found) > 1:
        raise UserError(
            f"{folder} holds the {kernel} kernel of epoch {plain(epoch)} of several evaluations: name one as "
            f"evaluation_id, of {', '.join(sorted(found))}."
        )
    chosen = next(iter(found), "") if evaluation_id is None else evaluation_id
    if chosen not in found:
        has = sorted({f"{one['kernel']} at epoch {plain(one['epoch'])}" for one in files.values() if "kernel" in one})
        of = "" if evaluation_id is None else f" of evaluation {evaluation_id}"
        raise UserError(
            f"{folder} holds no {kernel} kernel of epoch {plain(epoch)}{of}: it has {', '.join(has) or 'none'}."
        )
    stem, normalisation = found[chosen]
    names = (f"{stem}.train.npy", f"{stem}.test.npy", "labels.train.npy", "labels.test.npy")
    train, test, y_train, y_test = (_open(folder / name, files.get(name)) for name in names)
    return SavedGrams(train, test, y_train, y_test, normalisation=float(normalisation), evaluation_id=chosen)


def check_manifest(run_dir: Path | str) -> dict[str, dict[str, Any]]:
    """The manifest of a run's kernels, by file; empty if there is none yet. UserError if it is damaged."""
    folder = Path(run_dir) / KERNELS_FOLDER
    return _manifest(folder) if (folder / MANIFEST).exists() else {}


def _write(path: Path, matrix: Tensor) -> dict[str, Any]:
    """Write a tensor as .npy, in parts, and return the entry of the manifest for the file."""
    values = np.ascontiguousarray(matrix.detach().cpu().numpy())
    header = io.BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(values.dtype), "fortran_order": False, "shape": values.shape}
    np.lib.format.write_array_header_1_0(header, facts)
    digest, count = hashlib.sha256(), 0

    def parts() -> Iterator[memoryview]:
        nonlocal count
        content = values.reshape(-1).view(np.uint8).data
        slices = (content[start : start + _BYTES_AT_ONCE] for start in range(0, len(content), _BYTES_AT_ONCE))
        for part in itertools.chain([header.getbuffer()], slices):
            digest.update(part)
            count += len(part)
            yield part

    write_atomic(path, parts())
    return {"shape": list(values.shape), "dtype": str(values.dtype), "bytes": count, "sha256": digest.hexdigest()}


def _manifest(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / MANIFEST
    again = "move the folder away and evaluate the run again with keep=[gram,checkpoint]"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} holds no kernels: they are kept only with keep=[gram,...].") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read ({error}): {again}.") from error
    version = found.get("version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > MANIFEST_VERSION:
        raise UserError(f"{path} is of version {version}, and this afterkernel reads {MANIFEST_VERSION}.")
    files = found.get("files") if isinstance(found, dict) else None
    if version != MANIFEST_VERSION or not isinstance(files, dict) or not all(map(_complete, files.values())):
        raise UserError(f"{path} is not a manifest of kernels: {again}.")
    return files


def _complete(facts: Any) -> bool:
    if not isinstance(facts, dict) or not {"shape", "dtype", "bytes", "sha256", "split"} <= facts.keys():
        return False
    return "kernel" not in facts or {"epoch", "evaluation_id", "normalisation"} <= facts.keys()


def _open(path: Path, facts: dict[str, Any] | None) -> np.ndarray[Any, np.dtype[Any]]:
    if facts is None:
        raise UserError(f"{path} is not in {MANIFEST}: evaluate the run again with keep=[gram,checkpoint].")
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while part := file.read(_BYTES_AT_ONCE):
                digest.update(part)
        if digest.hexdigest() != facts["sha256"]:
            raise ValueError("its checksum differs")
        found: np.ndarray[Any, np.dtype[Any]] = np.load(path, mmap_mode="r", allow_pickle=False)
        if (list(found.shape), str(found.dtype)) != (facts["shape"], facts["dtype"]):
            raise ValueError(f"it is {found.shape} of {found.dtype}")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is missing or was altered ({error}): evaluate the run again with keep=[gram,checkpoint]."
        ) from error
    return found
