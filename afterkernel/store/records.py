"""Writing and reading the records of a run: one Parquet file, replaced as a whole whenever a record comes to it."""

from __future__ import annotations

from pathlib import Path

from afterkernel.errors import UserError
from afterkernel.store import engine, seal
from afterkernel.store.codec import RecordError, Row, key, records_of, rows_of, run_of
from afterkernel.store.files import RECORDS, record_files, safe, write_bytes_atomic
from afterkernel.store.record import Record


def write_record(run_dir: Path | str, record: Record) -> Path:
    """Put one record into its run's file and return the path; an earlier one of the same epoch and evaluation goes.

    For the one process that works on the run (see `afterkernel.sweep.claim`): two at once would lose a record.
    UserError where the record could not be read back as it is (a number that is not finite, a wrong type), and where
    the file that is there is damaged, of another version or of another run: it then stays as it is.
    """
    path = Path(run_dir) / RECORDS
    safe("evaluation_id", record.evaluation_id)
    try:
        rows = rows_of(record)
    except RecordError as fault:
        raise UserError(f"The record of epoch {record.epoch} can't be written to {path}: {fault}.") from fault
    others = _rows(path, record.run_id) if path.exists() else []
    others = [row for row in others if key(row) != key(rows[0])]
    # Stable, so that a record's kernels keep their order.
    write_bytes_atomic(path, engine.write(sorted([*others, *rows], key=key)))
    return path


def recorded(run_dir: Path | str, run_id: str | None = None) -> frozenset[tuple[int, str]]:
    """Epoch and evaluation_id of every record of a run; none where it has no file of them.

    UserError where the file can't be read, or is that of another run than `run_id`.
    """
    path = Path(run_dir) / RECORDS
    return frozenset(key(row) for row in _rows(path, run_id)) if path.exists() else frozenset()


def read_record(run_dir: Path | str, epoch: int, evaluation_id: str) -> Record:
    """One record of a run. UserError where it is not there or can't be read."""
    path = Path(run_dir) / RECORDS
    rows = [row for row in _rows(path) if key(row) == (epoch, evaluation_id)]
    if not rows:
        raise UserError(f"{path} holds no record of epoch {epoch} and evaluation {evaluation_id}.")
    return _records(path, rows)[0]


def read_records(directory: Path | str) -> list[Record]:
    """Every record at or below a directory (a run, a sweep, all sweeps), by path, epoch and evaluation.

    UserError where there is none, where one can't be read, or where two files hold the same run.
    """
    return [record for records in records_by_distinct_run(directory).values() for record in records]


def records_by_distinct_run(directory: Path | str) -> dict[Path, list[Record]]:
    """The same by the run's folder."""
    return _by_run(files_with_records(directory), copies=False)


def records_by_run(directory: Path | str) -> dict[Path, list[Record]]:
    """The records of each run at or below a directory, by the run's folder; two may be the same run.

    UserError where one can't be read.
    """
    return _by_run(record_files(directory), copies=True)


def readable_records(directory: Path | str) -> tuple[dict[Path, list[Record]], dict[Path, str]]:
    """The same of the runs whose records can be read, and of each other run, by its folder, what is wrong with them."""
    paths = record_files(directory)
    try:
        return _by_run(paths, copies=True), {}
    except UserError:
        wrong = {path.parent: fault for path in paths if (fault := _unsealed(path)) is not None}
    records, more = _apart([path for path in paths if path.parent not in wrong])
    return records, wrong | more


def files_with_records(directory: Path | str) -> list[Path]:
    """The files of records at or below a directory. UserError where there is none."""
    paths = record_files(directory)
    if not paths:
        raise UserError(f"{directory} holds no records: no {RECORDS} lies in it or below it.")
    return paths


def _by_run(paths: list[Path], *, copies: bool) -> dict[Path, list[Record]]:
    found = engine.read(paths, copies=copies) if paths else []
    return {path.parent: _records(path, rows) for path, rows in zip(paths, found, strict=True)}


def _apart(paths: list[Path]) -> tuple[dict[Path, list[Record]], dict[Path, str]]:
    # All at once; halves where that fails, so that few faulty files among many cost few readings more.
    try:
        return _by_run(paths, copies=True), {}
    except UserError as error:
        if len(paths) == 1:
            return {}, {paths[0].parent: str(error)}
    middle = len(paths) // 2
    (first, wrong), (second, more) = _apart(paths[:middle]), _apart(paths[middle:])
    return first | second, wrong | more


def _unsealed(path: Path) -> str | None:
    try:
        seal.check(path)
    except UserError as error:
        return str(error)
    return None


def _rows(path: Path, run_id: str | None = None) -> list[Row]:
    (rows,) = engine.read([path])
    for row in rows:
        if run_id is not None and run_of(row)[1] != run_id:
            raise UserError(f"{path} holds records of the run {run_of(row)[1]}, not of {run_id}: move it away.")
    return rows


def _records(path: Path, rows: list[Row]) -> list[Record]:
    try:
        return records_of(rows)
    except RecordError as fault:
        raise UserError(f"{path} can't be read as records: {fault}.") from fault
