"""Where things lie below a sweep's directory, and how they are written: whole, or not at all.

SWEEP/RUN_ID/config.yaml                              the resolved configuration
SWEEP/RUN_ID/snapshots/epoch=0005.pt, .json           a checkpoint and what is said of it
SWEEP/RUN_ID/records.parquet                          what each evaluation of each checkpoint gave
SWEEP/RUN_ID/kernels/                                 Gram matrices, where keep=[gram] asks for them
SWEEP/RUN_ID/run.json                                 which start of the run these files belong to
SWEEP/RUN_ID/replaced/                                what force=true replaced, until the new run has finished
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from afterkernel.errors import UserError

CONFIG = "config.yaml"
SNAPSHOTS = "snapshots"
RECORDS = "records.parquet"
STATE = "run.json"
REPLACED = "replaced"
KERNELS = "kernels"
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=+-]*")


def run_directory(root: Path | str, sweep: str, run_id: str) -> Path:
    """The folder of one run. UserError where a name could not be a folder's."""
    return Path(root) / safe("sweep", sweep) / safe("run_id", run_id)


def record_files(directory: Path | str) -> list[Path]:
    """The records of all runs at or below a directory, sorted by path. UserError where it is none.

    A run holds no runs, so that what lies below one is not looked at, nor are hidden folders.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory} is not a directory: name a run, a sweep, or the folder of all sweeps.")
    found = []
    for folder, below, names in os.walk(directory):
        if RECORDS in names:
            found.append(Path(folder, RECORDS))
            below.clear()
        below[:] = [] if CONFIG in names and SNAPSHOTS in below else [name for name in below if name[0] != "."]
        if STATE in names and REPLACED in below:  # what force=true replaced, which nobody reads
            below.remove(REPLACED)
    return sorted(found)


def write_bytes_atomic(path: Path | str, data: bytes) -> None:
    """Write a file so that a reader, or a crash, finds the old content or the new, never a part."""
    write_parts_atomic(path, [data])


def write_parts_atomic(path: Path | str, parts: Iterable[bytes | memoryview]) -> None:
    """The same for content that comes in parts and need not be in memory as a whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_drafts(run_dir: Path) -> None:
    """Remove what writers that were killed left unfinished; only for who alone works on the run."""
    for draft in (*run_dir.glob(".*.tmp"), *run_dir.glob("[!.cw]*/.*.tmp")):  # neither claims/ nor wandb/
        draft.unlink(missing_ok=True)


def write_text_atomic(path: Path | str, text: str) -> None:
    """The same for text, in UTF-8 and with its line ends as they are."""
    write_bytes_atomic(path, text.encode())


def safe(what: str, name: str) -> str:
    """The name, or UserError where it could not be a file's."""
    if not is_name(name):
        raise UserError(f"{what}={name!r} can't name a file: use letters, digits and _ . = + - alone.")
    return name


def is_name(text: str) -> bool:
    """Whether a text can name a folder of ours everywhere: letters, digits and _ . = + -, the first a letter, a digit
    or _.
    """
    return _SAFE.fullmatch(text) is not None


def _sync_folder(folder: Path) -> None:
    # Without this a power cut may take back the rename, though not the file.
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # Some network file systems refuse to sync a folder; the file itself is safe.
    finally:
        os.close(descriptor)
