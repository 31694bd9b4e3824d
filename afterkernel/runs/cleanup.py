"""Removes files of finished runs that can be computed again, and leftovers; never records, never of a run at work."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from afterkernel.errors import LockLostError
from afterkernel.records.cache import CACHE
from afterkernel.records.config_file import config_of
from afterkernel.records.files import CHECKPOINT, KERNELS_FOLDER, SNAPSHOTS, TILES
from afterkernel.records.store import RunFolder
from afterkernel.runs.disk import files_below, is_draft, kind_of, size_of
from afterkernel.runs.run_lock import LockedError, owner_of, run_lock
from afterkernel.runs.status import RunStatus, lookup, status


@dataclass(frozen=True)
class Removable:
    """Files of one kind (see `disk.KINDS`) of one run, or of no run where `run` is None."""

    kind: str
    run: RunStatus | None
    files: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Their bytes."""
        return sum(map(size_of, self.files))


@dataclass(frozen=True)
class Found:
    """What can be removed below a directory, and the runs that keep their files.

    Those `at_work` keep all, since a process works on them; `unfinished` ones all but drafts and uploaded W&B files.
    """

    removable: list[Removable]
    at_work: list[Path]
    unfinished: list[Path]


def find_removable(
    directory: Path, runs: Sequence[RunStatus], folders: Sequence[RunFolder], uploaded: Collection[Path]
) -> Found:
    """What can be removed of these runs at or below a directory.

    runs, folders: the same runs, as `status` and `read_runs` give them. uploaded: the folders of W&B runs that were
    uploaded.
    """
    by_path = {folder.path: folder for folder in folders}
    at_work = [run.run_dir for run in runs if owner_of(run.run_dir) is not None]
    unfinished = [run.run_dir for run in runs if run.run_dir not in at_work and not _is_finished(run)]
    found = [
        each for run in runs if run.run_dir not in at_work for each in _of_run(run, by_path[run.run_dir], uploaded)
    ]
    caches = tuple(path for path in sorted(directory.rglob(CACHE)) if path.is_file() and not path.is_symlink())
    return Found([*found, *([Removable("cache", None, caches)] if caches else [])], at_work, unfinished)


def remove(found: Sequence[Removable]) -> tuple[int, list[Path]]:
    """Remove files under the locks of their runs; returns the bytes freed, and the runs that are left alone.

    These are runs that another process works on, or has changed since they were found: it may need the files.
    """
    freed, taken = 0, []
    for each in found:
        if each.run is None:
            freed += _unlink(each.files)
            continue
        try:
            with run_lock(each.run.run_dir) as lock:
                lock.check()
                if status(each.run.run_dir, may_be_none=True) != [each.run]:
                    taken.append(each.run.run_dir)
                    continue
                freed += _unlink(each.files)
                _remove_empty_folders(each.files, each.run.run_dir)
        except (LockedError, LockLostError):
            taken.append(each.run.run_dir)
    return freed, list(dict.fromkeys(taken))


def _of_run(run: RunStatus, folder: RunFolder, uploaded: Collection[Path]) -> Iterator[Removable]:
    """What one run that no process works on has to remove; of one that is not finished only drafts."""
    run_dir = run.run_dir
    kinds: dict[str, list[Path]] = {"drafts": [path for path in files_below(run_dir) if _is_own_draft(path, run_dir)]}
    if _is_finished(run):
        weights = sorted((run_dir / SNAPSHOTS).glob("*.pt"))
        config = config_of(folder) if folder.has_config else None
        keep = lookup(config, "keep")
        kinds["unkept" if isinstance(keep, list) and "checkpoint" not in keep else "snapshots"] = weights
        kinds["grams"] = _inside(run_dir / KERNELS_FOLDER)
        kinds["samples"] = sorted((run_dir / "supports").glob("*.npz"))
        kinds["tiles"] = _inside(run_dir / TILES)
        kinds["checkpoints"] = [path for path in [run_dir / CHECKPOINT] if path.is_file()]
    kinds["wandb"] = [file for place in uploaded if run_dir in place.parents for file in _inside(place)]
    yield from (Removable(kind, run, tuple(files)) for kind, files in kinds.items() if files)


def _is_finished(run: RunStatus) -> bool:
    # A damaged record is computed again from what would be removed.
    return run.done and run.ended is not False and run.damaged is None


def _is_own_draft(path: Path, run_dir: Path) -> bool:
    return is_draft(path.name) and kind_of(path.relative_to(run_dir).parts) == "drafts"


def _inside(folder: Path) -> list[Path]:
    return [] if folder.is_symlink() else [path for path in files_below(folder) if not is_draft(path.name)]


def _unlink(files: Sequence[Path]) -> int:
    freed = 0
    for path in files:
        count = size_of(path)
        path.unlink(missing_ok=True)
        freed += count
    return freed


def _remove_empty_folders(files: Sequence[Path], run_dir: Path) -> None:
    """Remove the folders of these files that are empty now, up to the run's."""
    folders = {parent for path in files for parent in path.parents if run_dir in parent.parents}
    for folder in sorted(folders, key=lambda folder: -len(folder.parts)):
        with contextlib.suppress(OSError):  # it holds other files
            folder.rmdir()
