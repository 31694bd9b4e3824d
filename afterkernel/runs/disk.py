"""Disk space of runs by kind of file; which kinds can be removed, and what that costs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from afterkernel import text as fmt
from afterkernel.records.cache import CACHE
from afterkernel.records.files import CHECKPOINT, KERNELS_FOLDER, RECORDS, REPLACED, SNAPSHOTS, TILES


@dataclass(frozen=True)
class FileKind:
    """A kind of file: its name, what it is, and what it costs to remove it from a finished run.

    `is_free` if nothing has to be computed again; empty `cost` if it is never removed.
    """

    name: str
    what: str
    cost: str = ""
    is_free: bool = False


KINDS = {
    kind.name: kind
    for kind in (
        FileKind("records", "the results"),
        FileKind(
            "snapshots",
            "weights of each snapshot",
            "training again, for evaluate and verify, and for further kernels",
        ),
        FileKind("unkept", "weights that keep does not name", "nothing: the run is finished", is_free=True),
        FileKind("grams", "Gram matrices, of keep=[gram]", "evaluating again with keep=[gram], if weights are kept"),
        FileKind(
            "samples",
            "Gram matrices of samples, with which a lost record is computed again",
            "evaluating the snapshots before a lost record again",
        ),
        FileKind("tiles", "tiles of an unfinished Gram matrix", "nothing: the run is finished", is_free=True),
        FileKind("checkpoints", "checkpoints of training", "nothing: training has ended", is_free=True),
        FileKind("wandb", "offline W&B files", "nothing: removed are those that are uploaded", is_free=True),
        FileKind("csv", "numbers for logger=csv"),
        FileKind("tensorboard", "numbers for logger=tensorboard"),
        FileKind("cache", "the cache of results", "nothing: the next results command writes it again", is_free=True),
        FileKind("drafts", "incomplete files of killed processes", "nothing", is_free=True),
        FileKind("replaced", "what force=true replaced, until the new run has finished"),
        FileKind("reports", "output of report and dashboard"),
        FileKind("other", "configurations, logs, locks"),
    )
}
_FOLDERS = {
    RECORDS: "records",
    SNAPSHOTS: "snapshots",
    KERNELS_FOLDER: "grams",
    "supports": "samples",
    TILES: "tiles",
    **{name: name for name in ("wandb", "csv", "tensorboard")},
    REPLACED: "replaced",
}
_REPORTS = ("report", "dashboard")


def kind_of(parts: tuple[str, ...]) -> str:
    """The kind of a file by its path within the folder of its run."""
    if parts[0] == CHECKPOINT:
        return "checkpoints"
    kind = _FOLDERS.get(parts[0], "other")
    if kind not in ("wandb", "replaced") and is_draft(parts[-1]):
        return "drafts"
    return kind


def is_draft(name: str) -> bool:
    """Whether a file was being written by a process that has been killed, if none works on the run."""
    return name.startswith(".") and name.endswith(".tmp")


def disk_use(run_dir: Path | str) -> Counter[str]:
    """Bytes of the files of a run by kind; links are not followed, and files removed meanwhile are left out."""
    found: Counter[str] = Counter()
    for path in files_below(Path(run_dir)):
        found[kind_of(path.relative_to(run_dir).parts)] += size_of(path)
    return found


def use_outside_runs(directory: Path, runs: Collection[Path]) -> Counter[str]:
    """Bytes of the files of sweeps that belong to none of these runs: the cache, reports."""
    found: Counter[str] = Counter()
    for path in files_below(directory, leave_out=runs):
        parts = path.relative_to(directory).parts
        kind = "cache" if path.name == CACHE else "reports" if set(parts) & set(_REPORTS) else "other"
        found[kind] += size_of(path)
    return found


def files_below(folder: Path, leave_out: Collection[Path] = ()) -> Iterator[Path]:
    """Every file below a folder, without those in the folders to leave out; links are not followed."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if Path(place, name) not in leave_out]
        yield from (Path(place, name) for name in names)


def size_of(path: Path) -> int:
    """Bytes of a file; 0 if it was removed meanwhile."""
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def describe_use(found: Counter[str]) -> str:
    """The total, and in brackets its parts, the largest first: 1.20 MiB (snapshots 1.00 MiB, wandb 205 KiB)."""
    listed = ", ".join(f"{kind} {fmt.size(count)}" for kind, count in found.most_common() if count)
    return fmt.size(found.total()) + (f" ({listed})" if listed else "")
