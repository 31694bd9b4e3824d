"""The files below a sweep's directory, and atomic writing.

SWEEP/RUN_ID/config.yaml                              the resolved configuration
SWEEP/RUN_ID/snapshots/step=45.pt, .json              the weights of a snapshot, and its metadata
SWEEP/RUN_ID/records/STEP.EVALUATION.NUMBER.json      one evaluation of one snapshot
SWEEP/RUN_ID/kernels/                                 Gram matrices, with keep=[gram]
SWEEP/RUN_ID/run.json                                 the state of the run: what its files must belong to
SWEEP/RUN_ID/locks/                                   lock files: which process works on the run
SWEEP/RUN_ID/replaced/                                what force=true replaced, until the new run has finished
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from afterkernel.errors import UserError

CONFIG = "config.yaml"
SNAPSHOTS = "snapshots"
RECORDS = "records"
STATE = "run.json"
KERNELS_FOLDER = "kernels"
LOCKS = "locks"
REPLACED = "replaced"
TILES = "tiles"
CHECKPOINT = "training.ckpt"
NAME = r"[A-Za-z0-9_][A-Za-z0-9_.=+-]*"
_SAFE = re.compile(NAME)


def run_directory(root: Path | str, sweep: str, run_id: str) -> Path:
    """The folder of one run. UserError for a name that no folder can have."""
    return Path(root) / check_name("sweep", sweep) / check_name("run_id", run_id)


def check_directory(directory: Path) -> None:
    """Raise UserError if there is no such directory."""
    if directory.is_file():
        raise UserError(
            f"{directory} is a file, and this needs the folders of runs: name a run, a sweep, or the folder of all "
            "sweeps."
        )
    if not directory.is_dir():
        here = "" if directory.is_absolute() else f" (the current folder is {Path.cwd()})"
        raise UserError(f"{directory} is not a directory{here}: name a run, a sweep, or the folder of all sweeps.")


def output_folder(directory: Path | str, name: str) -> Path:
    """The folder for what is made of the records in a directory, or of those in a file: then next to it."""
    path = Path(directory)
    return path.with_name(f"{path.stem}-{name}") if path.is_file() else path / name


def check_run_folder(run_dir: Path) -> None:
    """Raise UserError for a folder without the configuration of a run."""
    if not (run_dir / CONFIG).exists():
        raise UserError(f"{run_dir} is not a run: it has no {CONFIG}; name a folder runs/SWEEP/RUN_ID.")
    check_folders(run_dir)


def check_folders(run_dir: Path) -> None:
    """Raise UserError if a folder that a run writes to exists and is not a folder."""
    for name in (SNAPSHOTS, RECORDS, KERNELS_FOLDER, LOCKS, REPLACED, TILES):
        place = run_dir / name
        if os.path.lexists(place) and not place.is_dir():
            raise UserError(f"{place} is not a folder, but the run's {name} are stored there: remove it.")


def write_atomic(path: Path | str, content: str | bytes | Iterable[bytes | memoryview]) -> None:
    """Write a file atomically: readers see the old content or the new, even after a crash. Text is UTF-8."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = content.encode() if isinstance(content, str) else content
    with _draft(path, [content] if isinstance(content, bytes) else content) as draft:
        draft.replace(path)
    _sync_folder(path.parent)


def create_file(path: Path, data: bytes) -> None:
    """Write a file that must not exist yet, atomically. FileExistsError if it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _draft(path, [data]) as draft:
        link(draft, path)
    _sync_folder(path.parent)


def link(draft: Path, path: Path) -> None:
    """Name a complete file, unless the name exists (FileExistsError): of several racing processes one wins."""
    try:
        os.link(draft, path)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:
        # Without hard links: exclusive creation, which every file system since NFS 3 has.
        data = draft.read_bytes()
        with path.open("xb") as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                path.unlink(missing_ok=True)
                raise


def remove_drafts(run_dir: Path) -> None:
    """Remove drafts of killed processes; only the process that holds the run's lock may call this."""
    for folder in (run_dir, *run_dir.glob("[!.]*/")):
        if folder.name not in (LOCKS, REPLACED, "wandb"):
            for draft in folder.glob(".*.tmp"):
                draft.unlink(missing_ok=True)


def check_name(what: str, name: str) -> str:
    """The name; UserError if no file can have it."""
    if not is_name(name):
        raise UserError(f"{what}={name!r} can't name a file: use only letters, digits and _ . = + -.")
    return name


def is_name(text: str) -> bool:
    """Whether every file system allows a name: letters, digits and _ . = + -, the first a letter, a digit or _."""
    return _SAFE.fullmatch(text) is not None


@contextlib.contextmanager
def _draft(path: Path, parts: Iterable[bytes | memoryview]) -> Iterator[Path]:
    """A complete temporary file next to `path`; it is deleted at the end of the block unless it was renamed."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with draft.open("xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # Without this, a power failure may undo the renaming.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(
            OSError
        ):  # some network file systems do not support it; the content is synced in any case
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
