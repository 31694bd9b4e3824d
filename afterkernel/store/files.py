"""Where things lie below a sweep's directory, and how they are written: whole, or not at all.

SWEEP/RUN_ID/config.yaml                              the resolved configuration
SWEEP/RUN_ID/snapshots/epoch=0005.pt, .json           a checkpoint and what is said of it
SWEEP/RUN_ID/records/epoch=0005.EVALUATION_ID.json    what one evaluation of that checkpoint gave
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from afterkernel.errors import UserError
from afterkernel.store.codec import RecordError, decode, encode
from afterkernel.store.record import Record

CONFIG = "config.yaml"
SNAPSHOTS = "snapshots"
RECORDS = "records"
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=+-]*")


def run_directory(root: Path | str, sweep: str, run_id: str) -> Path:
    """The folder of one run. UserError where a name could not be a folder's."""
    return Path(root) / _safe("sweep", sweep) / _safe("run_id", run_id)


def record_path(run_dir: Path | str, epoch: int, evaluation_id: str) -> Path:
    """Where the record of one snapshot and one evaluation lies."""
    return Path(run_dir) / RECORDS / f"epoch={epoch:04d}.{_safe('evaluation_id', evaluation_id)}.json"


def record_paths(directory: Path | str) -> list[Path]:
    """All records below a directory (a run, a sweep or all sweeps), sorted by path. UserError where it is none."""
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory} is not a directory: name a run, a sweep, or the folder of all sweeps.")
    return sorted(directory.rglob(f"{RECORDS}/epoch=*.json"))


def write_bytes_atomic(path: Path | str, data: bytes) -> None:
    """Write a file so that a reader, or a crash, finds the old content or the new, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
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


def write_record(run_dir: Path | str, record: Record) -> Path:
    """Write one record below its run's folder and return its path; an earlier one of the same name is replaced.

    UserError where the record could not be read back as it is (a number that is not finite, a wrong type).
    """
    path = record_path(run_dir, record.epoch, record.evaluation_id)
    try:
        text = encode(record)
    except RecordError as fault:
        raise UserError(f"The record {path} can't be written: {fault}.") from fault
    write_text_atomic(path, text)
    return path


def read_record(path: Path | str) -> Record:
    """The record in a file. UserError, naming the file and what is wrong with it, where there is none."""
    try:
        return decode(Path(path).read_text(encoding="utf-8"))
    except RecordError as fault:
        raise UserError(f"{path} can't be read as a record: {fault}.") from fault
    except UnicodeDecodeError as error:
        raise UserError(f"{path} can't be read as a record: it is not UTF-8 text.") from error
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}.") from error


def _safe(what: str, name: str) -> str:
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
