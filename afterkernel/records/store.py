"""Writing and reading the records of runs: one write-once file each, RUN/records/STEP.EVALUATION.NUMBER.json.

NUMBER is the number of the lock under which the record was written (see `afterkernel.runs.run_lock`). Files are never
replaced; for each step and evaluation the highest number is valid. So a process that was paused, lost its lock and
continues can not change the results of its successor: its own files have lower numbers.

RUN/records/NUMBER.fence makes all records with lower numbers invalid, which force=true needs.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import stat
from collections.abc import Callable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, TypeVar

from afterkernel.errors import LockLostError, UserError
from afterkernel.records.document import RecordError, decode, encode
from afterkernel.records.exported import read_exported
from afterkernel.records.files import (
    CONFIG,
    LOCKS,
    NAME,
    RECORDS,
    REPLACED,
    SNAPSHOTS,
    STATE,
    check_directory,
    check_name,
    create_file,
)
from afterkernel.records.record import Record
from afterkernel.records.skipped import warn_skipped

Key = tuple[int, str]
# The sweep and run_id of a record.
RunName = tuple[str, str]
# Size and times of change (mtime, ctime) in ns of a file.
Stamp = tuple[int, int, int]
T = TypeVar("T")
_RUN_ID = attrgetter("run_id")
LARGEST_NUMBER = 10**18 - 1
# Each number has one spelling, so that no two files can be the same record.
_INTEGER = "(0|[1-9][0-9]{0,17})"
_RECORD = re.compile(rf"{_INTEGER}\.({NAME})\.{_INTEGER}\.json")
_FENCE = re.compile(rf"{_INTEGER}\.fence")
_LOCK = re.compile(r"([0-9]{4}|[1-9][0-9]{4,17})\.json")
# The end of a run's id: a hash of its configuration.
_HASH = re.compile(r".*-([0-9a-f]{10})")


class RecordFile(NamedTuple):
    """A file of one record, by its name."""

    step: int
    evaluation_id: str
    number: int
    path: str
    stamp: Stamp

    @property
    def name(self) -> str:
        """Its name."""
        return f"{self.step}.{self.evaluation_id}.{self.number}.json"


@dataclasses.dataclass
class RunFolder:
    """A folder with records or a config.yaml, and, once they are read, the records.

    `is_run` is true if the folder holds more of a run than a config.yaml; `listing` has the files in its folder of
    records; `skipped` describes each skipped file.
    """

    path: Path
    has_config: bool = False
    is_run: bool = True
    listing: dict[str, Stamp] = dataclasses.field(default_factory=dict)
    records: list[Record] = dataclasses.field(default_factory=list)
    skipped: list[str] = dataclasses.field(default_factory=list)

    @functools.cached_property
    def files(self) -> list[RecordFile]:
        """The files of its records by step, evaluation and number, without those that a fence makes invalid."""
        found, floor = [], 0
        for name, stamp in self.listing.items():
            path = f"{self.path}/{RECORDS}/{name}"
            if match := _RECORD.fullmatch(name):
                found.append(RecordFile(int(match[1]), match[2], int(match[3]), path, stamp))
            elif match := _FENCE.fullmatch(name):
                floor = max(floor, int(match[1]))
            else:
                self.warn_skipped(path, "is not named STEP.EVALUATION.NUMBER.json")
        return sorted(file for file in found if file.number >= floor)

    def warn_skipped(self, path: str, reason: str) -> None:
        """Warn that a file of the run is skipped."""
        self.skipped.append(f"{os.path.relpath(path, self.path)} {reason}")
        warn_skipped(path, reason)


def write_record(run_dir: Path | str, record: Record, number: int) -> Path:
    """Write one record under the lock with this number and return its path.

    UserError if the record could not be read back unchanged (a number that is not finite, a wrong type),
    FileExistsError if one of this step, evaluation and number exists, and LockLostError if another process has taken
    over the run; a record written in spite of that would be invalid.
    """
    name = f"{record.step}.{check_name('evaluation_id', record.evaluation_id)}.{number}.json"
    path = Path(run_dir) / RECORDS / name
    if not _RECORD.fullmatch(name):
        raise UserError(f"The record can't be written to {path}: step and number must be from 0 to {LARGEST_NUMBER}.")
    try:
        data = encode(record, number)
    except RecordError as fault:
        raise UserError(f"The record of step {record.step} can't be written to {path}: it {fault}.") from fault
    try:
        if next_number(run_dir) > number + 1:
            raise FileNotFoundError
        create_file(path, data)
    except FileNotFoundError as error:  # the successor has removed the draft or moved the folder
        raise LockLostError(f"{Path(run_dir).name} was taken over by another process") from error
    return path


def remove_record(run_dir: Path, step: int, evaluation_id: str, number: int) -> None:
    """Delete a record that this lock has written, so that another one can take its place."""
    (run_dir / RECORDS / f"{step}.{evaluation_id}.{number}.json").unlink(missing_ok=True)


def fence_records(run_dir: Path | str, number: int) -> None:
    """Make all records below this number invalid, as force=true needs it."""
    create_file(Path(run_dir) / RECORDS / f"{number}.fence", b"")


def next_number(run_dir: Path | str) -> int:
    """The number for the next lock: 1 + the highest among locks and records. UserError if all are used."""
    run_dir = Path(run_dir)
    found = [0, *lock_numbers(run_dir)]
    for name in _names(run_dir / RECORDS):
        if match := _RECORD.fullmatch(name) or _FENCE.fullmatch(name):
            found.append(int(match[match.lastindex or 1]))
    if max(found) == LARGEST_NUMBER:
        raise UserError(
            f"{run_dir} has a lock or record of number {LARGEST_NUMBER}, the largest number allowed: remove that file."
        )
    return max(found) + 1


def lock_numbers(run_dir: Path) -> dict[int, Path]:
    """The files of a run's locks by number."""
    folder = run_dir / LOCKS
    numbers = [int(match[1]) for name in _names(folder) if (match := _LOCK.fullmatch(name))]
    return {number: folder / f"{number:04d}.json" for number in numbers}


def read_run(run_dir: Path | str, run_id: str | None = None) -> dict[Key, Record]:
    """The records of one run by step and evaluation_id; damaged ones and those of other runs are skipped."""
    run = RunFolder(Path(run_dir))
    _list(run)
    return {(record.step, record.evaluation_id): record for record in select_records(run, read_file, _RUN_ID, run_id)}


def read_records(directory: Path | str) -> list[Record]:
    """Every record at or below a directory (a run, a sweep, all sweeps), by path, step and evaluation.

    The directory may be a file that `results --export` wrote. Damaged records are skipped with a SkippedWarning.
    UserError if there is no record, if two folders hold the same run, or if the file is damaged.
    """
    return [record for run in read_distinct_runs(directory) for record in run.records]


def read_distinct_runs(directory: Path | str) -> list[RunFolder]:
    """All runs at or below a directory, or in a file of exported records, with their records.

    UserError as for `read_records`.
    """
    runs = read_exported_runs(Path(directory)) if is_exported(directory) else read_runs(directory)
    check_distinct(directory, {run.path: {(record.sweep, record.run_id) for record in run.records} for run in runs})
    return runs


def read_runs(directory: Path | str) -> list[RunFolder]:
    """All runs at or below a directory with their records, sorted by path; two may be the same run."""
    runs = find_runs(directory)
    for run in runs:
        run.records = select_records(run, read_file, _RUN_ID)
    return runs


def is_exported(directory: object) -> bool:
    """Whether a regular file is named in place of a directory."""
    return isinstance(directory, (str, os.PathLike)) and Path(directory).is_file()


def read_exported_runs(path: Path) -> list[RunFolder]:
    """The runs in a file of exported records, each as the folder FILE/SWEEP/RUN_ID, which does not exist."""
    runs: dict[RunName, RunFolder] = {}
    for record in read_exported(path):
        name = record.sweep, record.run_id
        runs.setdefault(name, RunFolder(path.joinpath(*name))).records.append(record)
    return list(runs.values())


def check_distinct(directory: Path | str, runs: Mapping[Path, set[RunName]]) -> None:
    """Raise UserError if no folder holds records of a run, or if two hold the same run."""
    first: dict[RunName, Path] = {}
    for path, names in runs.items():
        for name in names:
            if first.setdefault(name, path) != path:
                raise UserError(f"{first[name]} and {path} hold the same run: remove one, or name a smaller directory.")
    if not first:
        raise UserError(
            f"{directory} contains no readable records: there is no {RECORDS}/*.json of a run in it or below it."
        )


def find_runs(directory: Path | str) -> list[RunFolder]:
    """The folders of all runs at or below a directory, sorted by path: those with records or a config.yaml.

    Runs are not nested, so nothing below one is searched, nor are hidden folders. UserError if there is no directory.
    """
    if not isinstance(directory, (str, os.PathLike)) or not str(directory).strip():
        raise UserError(f"{directory!r} is not a directory: name a run, a sweep, or the folder of all sweeps.")
    directory = Path(directory)
    check_directory(directory)
    found, pending = [], [str(directory)]
    while pending:
        folder = pending.pop()
        inside = {entry.name: entry.is_dir(follow_symlinks=False) for entry in _entries(folder, warn_skipped)}
        run = RunFolder(Path(folder), has_config=CONFIG in inside)
        if RECORDS in inside:
            _list(run)
        for lock in _entries(f"{folder}/{LOCKS}", run.warn_skipped) if LOCKS in inside else ():
            if lock.name.endswith(".json") and not _LOCK.fullmatch(lock.name):
                run.warn_skipped(lock.path, "is not the name of a lock: remove it")
        # A sweep may be called records.
        has_records = any(map(_RECORD.fullmatch, run.listing))
        marked = LOCKS in inside or STATE in inside
        run.is_run = has_records or marked or (run.has_config and bool(run.skipped or SNAPSHOTS in inside))
        if has_records or run.has_config or run.skipped:
            found.append(run)
        if not run.is_run:
            hidden = {REPLACED} if run.has_config else set()
            pending += [
                os.path.join(folder, name)  # noqa: PTH118 (ten thousand of them, quickly)
                for name, is_folder in inside.items()
                if is_folder and name[0] != "." and name not in hidden and not _of_wandb(run.path, name)
            ]
    return sorted(found, key=lambda run: run.path.parts)


def select_records(
    run: RunFolder, load: Callable[[RecordFile], T], run_id_of: Callable[[T], str], run_id: str | None = None
) -> list[T]:
    """The result of `load` for each valid record of a run, by step and evaluation; other files are skipped.

    `load` raises RecordError or OSError for a damaged file. Records of other runs are skipped: the folder's run is
    `run_id` if given, else the run that the folder is named after, else the one run that all its records are of.
    """
    loaded: list[tuple[RecordFile, T]] = []
    for file in run.files:
        try:
            loaded.append((file, load(file)))
        except FileNotFoundError:
            continue  # moved away since it was listed
        except RecordError as fault:
            run.warn_skipped(file.path, str(fault))
        except OSError as error:
            run.warn_skipped(file.path, f"can't be read ({error.strerror})")
    ids = {run_id_of(one) for _, one in loaded}
    own = run_id or _own_id(run.path, ids)
    best: dict[Key, T] = {}
    for file, one in loaded:
        if run_id_of(one) != own:
            whose = f"the run {own}" if own else f"one run: the folder holds records of {', '.join(sorted(ids))}"
            run.warn_skipped(file.path, f"is a record of the run {run_id_of(one)}, not of {whose}")
            continue
        best[file.step, file.evaluation_id] = one  # files are sorted, so the highest number comes last
    return list(best.values())


def read_file(file: RecordFile) -> Record:
    """The record in a file. RecordError if it is damaged, or if its name does not match its content."""
    data = Path(file.path).read_bytes()
    record = decode(data)
    number = data.partition(b",")[0].removeprefix(b'{"number":').decode(errors="replace")
    found = f"{record.step}.{record.evaluation_id}.{number}.json"
    if found != file.name:
        raise RecordError(f"was renamed: its content is that of {found}")
    return record


def folder_name(path: Path) -> str:
    """The name of a folder, also of `.` and `..`."""
    return path.name if path.name not in ("", "..") else path.resolve().name


def _own_id(path: Path, ids: set[str]) -> str | None:
    name = folder_name(path)
    if name in ids:
        return name
    if (match := _HASH.fullmatch(name)) and not any(one.endswith(f"-{match[1]}") for one in ids):
        return name
    return next(iter(ids)) if len(ids) == 1 else None


def _list(run: RunFolder) -> None:
    """List the files in a run's folder of records."""
    for entry in _entries(f"{run.path}/{RECORDS}", run.warn_skipped):
        if entry.name[0] == "." or not entry.name.endswith((".json", ".fence")):
            continue
        try:
            facts = entry.stat()
        except OSError as error:
            if entry.is_symlink() or not isinstance(error, FileNotFoundError):
                run.warn_skipped(entry.path, f"can't be read ({error.strerror})")
            continue
        if stat.S_ISREG(facts.st_mode):
            run.listing[entry.name] = facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
        elif _RECORD.fullmatch(entry.name):
            run.warn_skipped(entry.path, "is not a file")


def _entries(folder: str, report: Callable[[str, str], None]) -> list[os.DirEntry[str]]:
    """The entries of a folder; empty if it is missing, or if it can not be read, which is reported."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        report(folder, f"can't be read ({error.strerror})")
    return []


def _names(folder: Path) -> list[str]:
    """The names in a folder; empty if it is missing. OSError if it can not be read: the next number depends on it."""
    try:
        return [entry.name for entry in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _of_wandb(folder: Path, name: str) -> bool:
    """Whether a folder holds copies of files that W&B has made of a run."""
    return name == "files" and "run-" in folder.name and folder.parent.name == "wandb"
