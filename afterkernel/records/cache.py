"""The rows of a sweep's records in one Parquet file, so that a large sweep opens quickly the second time.

SWEEP/.results.cache    a line with the SHA-256 of the rest, then a Parquet file

It is derived from the records and may be deleted. A row is used only if its record file still has the size and the
times of change (mtime, ctime) of when it was read; other files are read again. A cache that is damaged or of another
version or folder is ignored. If the cache can not be written, queries work without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

from afterkernel.records.columns import COLUMNS, rows
from afterkernel.records.connection import sql_string
from afterkernel.records.document import RecordError
from afterkernel.records.files import write_atomic
from afterkernel.records.record import SCHEMA_VERSION, Record
from afterkernel.records.store import (
    RecordFile,
    RunFolder,
    RunName,
    Stamp,
    check_distinct,
    folder_name,
    read_file,
    select_records,
)

if TYPE_CHECKING:
    import duckdb

Execute = Callable[[str], "duckdb.DuckDBPyConnection"]
CACHE = ".results.cache"
# Fewer new records than this are read faster than a cache is written.
FROM_RECORDS = 64
_STAMP = ("size", "mtime_ns", "ctime_ns")
_TYPES = (
    {"file": "VARCHAR"} | dict.fromkeys((*_STAMP, "place"), "BIGINT") | {column.name: column.sql for column in COLUMNS}
)
_SIGNATURE = json.dumps([SCHEMA_VERSION, _TYPES]).encode()
# The files of one run that a cache has, by name.
_Known = dict[str, tuple[Stamp, RunName]]


def collect_rows(execute: Execute, runs: Sequence[RunFolder], directory: Path | str, folder: Path) -> list[str]:
    """The rows of all valid records, as one or more SQL table expressions over Parquet files in `folder`.

    `runs` are those at or below `directory`. Rows are in the order of their files, from a cache or not. UserError if
    there are none, or if two folders hold the same run. `directory` may be a file of exported records, whose records
    the runs have then.
    """
    if Path(directory).is_file():
        records = [record for run in runs for record in run.records]
        lines = [_lines(record, f"{number:012}", (0, 0, 0)) for number, record in enumerate(records)]
        return [_merged(execute, lines, "", folder / "exported")]
    sweeps: dict[Path, list[RunFolder]] = {}
    for run in runs:
        sweeps.setdefault(run.path.parent if run.path.name else run.path / "..", []).append(run)
    parts: list[str] = []
    names: dict[Path, set[RunName]] = {}
    for number, (sweep, members) in enumerate(sweeps.items()):
        copy = folder / f"{number}.cached.parquet"
        known = _known(execute, sweep / CACHE, copy)
        cached, fresh = sum(map(len, known.values())), []
        for run in members:
            names[run.path], lines = _rows_of(run, known)
            fresh += lines
        unused = [f"{name}/{file}" for name, files in known.items() for file in files]
        part = _parquet(copy, unused) if len(unused) < cached else ""
        if fresh:
            part = _merged(execute, fresh, part, folder / f"{number}")
            # Reading one run must not drop the others of its sweep from the cache.
            if len(fresh) >= FROM_RECORDS and members[0].path != Path(directory):
                _save(execute, part, folder / f"{number}.saved.parquet", sweep / CACHE)
        parts += [part] if part else []
    check_distinct(directory, names)
    return parts


def _rows_of(run: RunFolder, known: dict[str, _Known]) -> tuple[set[RunName], list[str]]:
    """The runs that the valid records of a folder belong to, and the rows as JSON that the cache lacks.

    Files whose rows are in the cache are removed from `known`.
    """
    # In ASCII, since the name of a folder may have bytes that are not UTF-8.
    folder = ascii(folder_name(run.path))
    cached = known.get(folder, {})
    if cached and run.listing == {name: stamp for name, (stamp, _) in cached.items()}:
        return {of_run for _, of_run in known.pop(folder).values()}, []

    def load(file: RecordFile) -> tuple[str, RunName, str]:
        stamp, of_run = cached.get(file.name, (None, ("", "")))
        if stamp == file.stamp:
            return file.name, of_run, ""
        record = read_file(file)
        return file.name, (record.sweep, record.run_id), _lines(record, f"{folder}/{file.name}", file.stamp)

    chosen = select_records(run, load, lambda one: one[1][1])
    for name, _, lines in chosen:
        if not lines:
            del cached[name]
    return {of_run for _, of_run, _ in chosen}, [lines for _, _, lines in chosen if lines]


def _lines(record: Record, file: str, stamp: Stamp) -> str:
    """A record's rows as JSON: one per kernel."""
    key = {"file": file, **dict(zip(_STAMP, stamp, strict=True))}
    try:
        found = [key | {"place": place} | row for place, row in enumerate(rows(record))]
        return "".join(f"{json.dumps(row, allow_nan=False, separators=(',', ':'))}\n" for row in found)
    except ValueError as error:  # written by other software, with NaN among its options
        raise RecordError(f"can't be read as a record: {error}") from error


def _merged(execute: Execute, lines: Iterable[str], cached: str, path: Path) -> str:
    """New rows and those of the cache, as one table in the order of their files."""
    source, target = path.with_suffix(".json"), path.with_suffix(".parquet")
    with source.open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines)
    columns = ", ".join(f"{sql_string(name)}: {sql_string(kind)}" for name, kind in _TYPES.items())
    query = (
        f"FROM read_json({sql_string(escape(str(source)))}, format = 'newline_delimited', columns = {{{columns}}}, "
        f"hive_partitioning = false, maximum_object_size = {2**30})"
    )
    if cached:
        query = f"({query}) UNION ALL BY NAME (FROM {cached})"
    execute(f"COPY ({query} ORDER BY file, place) TO {sql_string(str(target))} (FORMAT parquet)")
    source.unlink()
    return _parquet(target)


def _known(execute: Execute, path: Path, copy: Path) -> dict[str, _Known]:
    """The files in a cache by run folder; it is copied to `copy`, a name without wildcards. Empty if unusable."""
    import duckdb

    if not path.is_file():
        return {}
    try:
        digest, _, data = path.read_bytes().partition(b"\n")
        if digest != _digest(data):
            return {}
        copy.write_bytes(data)
        names = ", ".join((*_STAMP, "sweep", "run_id"))
        found = execute(f"SELECT DISTINCT file, {names} FROM {_parquet(copy)}").fetchall()
    except (OSError, duckdb.Error):
        return {}
    known: dict[str, _Known] = {}
    for file, size, mtime_ns, ctime_ns, sweep, run_id in found:
        folder, _, name = file.rpartition("/")
        known.setdefault(folder, {})[name] = (size, mtime_ns, ctime_ns), (sweep, run_id)
    return known


def _save(execute: Execute, part: str, draft: Path, path: Path) -> None:
    """Write a cache, unless the folder can not be written to."""
    execute(f"COPY (FROM {part}) TO {sql_string(str(draft))} (FORMAT parquet, COMPRESSION zstd)")
    data = draft.read_bytes()
    draft.unlink()
    with contextlib.suppress(OSError):
        write_atomic(path, _digest(data) + b"\n" + data)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(_SIGNATURE + data).hexdigest().encode()


def _parquet(path: Path, without: Iterable[str] = ()) -> str:
    table = f"read_parquet({sql_string(escape(str(path)))}, hive_partitioning = false)"
    names = ", ".join(map(sql_string, without))
    return f"(FROM {table} WHERE file NOT IN ({names}))" if names else table
