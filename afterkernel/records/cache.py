"""The rows of a sweep's records in one Parquet file, so that a large sweep opens quickly the second time.

SWEEP/.results.cache    a line with the SHA-256 of the rest, then a Parquet file

It is derived and may be removed. A row is used only where its record file still has the size and the times of change
(mtime, ctime) that it had when it was read; other files are read anew. A cache that is damaged, of another version or
of another folder is not used, and where it can't be written nothing happens.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from afterkernel.records.columns import COLUMNS, SEPARATOR
from afterkernel.records.document import RecordError
from afterkernel.records.files import write_bytes_atomic
from afterkernel.records.record import SCHEMA_VERSION, Record
from afterkernel.records.store import RecordFile, RunFolder, check_any, folder_name, read_file, refuse_copies, select

if TYPE_CHECKING:
    import duckdb

Execute = Callable[[str], "duckdb.DuckDBPyConnection"]
CACHE = ".results.cache"
# So few new records are read faster than a cache is written.
FROM_RECORDS = 64
_STAMP = ("size", "mtime_ns", "ctime_ns")
_TYPES = (
    {"file": "VARCHAR"} | dict.fromkeys((*_STAMP, "place"), "BIGINT") | {column.name: column.sql for column in COLUMNS}
)
_SIGNATURE = json.dumps([SCHEMA_VERSION, _TYPES]).encode()


class _Rows(NamedTuple):
    """The rows of one record, as JSON lines; none where they are in the cache."""

    file: str
    run: tuple[str, str]
    lines: str | None


def gather(execute: Execute, runs: Sequence[RunFolder], directory: Path | str, folder: Path) -> list[str]:
    """The rows of the records that count, as one or more tables in DuckDB's SQL over Parquet files in `folder`.

    `runs` are those at or below `directory`. Rows are in the order of their files, whichever come from a cache.
    UserError where there are none, or two folders hold the same run.
    """
    sweeps: dict[Path, list[RunFolder]] = {}
    for run in runs:
        sweeps.setdefault(run.path.parent if run.path.name else run.path / "..", []).append(run)
    parts: list[str] = []
    found: list[tuple[RunFolder, list[_Rows]]] = []
    for number, (sweep, members) in enumerate(sweeps.items()):
        cached = folder / f"{number}.cached.parquet"
        known = _known(execute, sweep / CACHE, cached)
        of_sweep = [(run, _rows_of(run, known)) for run in members]
        found += of_sweep
        chosen = sorted((rows for _, of_run in of_sweep for rows in of_run), key=lambda rows: rows.file)
        fresh = [rows.lines for rows in chosen if rows.lines is not None]
        used = {rows.file for rows in chosen if rows.lines is None}
        part = _parquet(cached, sorted(known.keys() - used)) if used else ""
        if fresh:
            part = _merged(execute, fresh, part, folder / f"{number}")
            # A run alone is no reason to forget the others of its sweep.
            if len(fresh) >= FROM_RECORDS and members[0].path != Path(directory):
                _save(execute, part, folder / f"{number}.saved.parquet", sweep / CACHE)
        parts += [part] if part else []
    check_any(directory, [run for run, rows in found if rows])
    refuse_copies((run.path, {one.run for one in rows}) for run, rows in found)
    return parts


def text(value: str) -> str:
    """A string in SQL."""
    return "'" + value.replace("'", "''") + "'"


def _rows_of(run: RunFolder, known: dict[str, tuple[Any, ...]]) -> list[_Rows]:
    # ASCII, whatever a folder is called: a name may have bytes that are no text.
    name = ascii(folder_name(run.path))

    def load(file: RecordFile) -> _Rows:
        key = f"{name}/{file.name}"
        entry = known.get(key)
        if entry is not None and entry[:3] == file.stamp:
            return _Rows(key, entry[3:], None)
        record = read_file(file)
        return _Rows(key, (record.sweep, record.run_id), "".join(_lines(record, key, file.stamp)))

    return select(run, load, lambda rows: rows.run[1])


def _lines(record: Record, file: str, stamp: tuple[int, int, int]) -> Iterable[str]:
    """A record's rows as JSON: one per kernel."""
    try:
        common = _json({"file": file, **dict(zip(_STAMP, stamp, strict=True))} | _values(record, Record))
        for place, kernel in enumerate(record.kernels):
            own = {"place": place} | _values(kernel, type(kernel)) | _values(kernel.resources, type(kernel.resources))
            yield f"{common[:-1]},{_json(own)[1:]}\n"
    except ValueError as error:  # sealed by somebody else, with NaN among its options
        raise RecordError(f"can't be read as a record: {error}") from error


def _values(holder: Any, owner: type[Any]) -> dict[str, Any]:
    return {column.name: _plain(getattr(holder, column.name)) for column in COLUMNS if column.owner is owner}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return SEPARATOR.join(value)
    return json.dumps(value, sort_keys=True, allow_nan=False) if isinstance(value, dict) else value


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, allow_nan=False, separators=(",", ":"))


def _merged(execute: Execute, lines: Iterable[str], cached: str, path: Path) -> str:
    """Rows that were read, and those of the cache, as one table in the order of their files."""
    source, target = path.with_suffix(".json"), path.with_suffix(".parquet")
    with source.open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines)
    columns = ", ".join(f"{text(name)}: {text(kind)}" for name, kind in _TYPES.items())
    rows = (
        f"FROM read_json({text(escape(str(source)))}, format = 'newline_delimited', columns = {{{columns}}}, "
        f"hive_partitioning = false, maximum_object_size = {2**30})"
    )
    if cached:
        rows = f"({rows}) UNION ALL BY NAME (FROM {cached}) ORDER BY file, place"
    execute(f"COPY ({rows}) TO {text(str(target))} (FORMAT parquet)")
    source.unlink()
    return _parquet(target)


def _known(execute: Execute, path: Path, copy: Path) -> dict[str, tuple[Any, ...]]:
    """By file the size, times, sweep and run in a cache, which is copied to a safe name; none if it can't be used."""
    import duckdb

    try:
        digest, _, data = path.read_bytes().partition(b"\n")
        if digest != _digest(data):
            return {}
        copy.write_bytes(data)
        names = ", ".join((*_STAMP, "sweep", "run_id"))
        rows = execute(f"SELECT DISTINCT file, {names} FROM {_parquet(copy)}").fetchall()
    except (OSError, duckdb.Error):
        return {}
    return {row[0]: row[1:] for row in rows}


def _save(execute: Execute, part: str, draft: Path, path: Path) -> None:
    """Write a cache; nothing happens where the folder can't be written to."""
    execute(f"COPY (FROM {part}) TO {text(str(draft))} (FORMAT parquet, COMPRESSION zstd)")
    data = draft.read_bytes()
    draft.unlink()
    with contextlib.suppress(OSError):
        write_bytes_atomic(path, _digest(data) + b"\n" + data)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(_SIGNATURE + data).hexdigest().encode()


def _parquet(path: Path, without: Iterable[str] = ()) -> str:
    table = f"read_parquet({text(escape(str(path)))}, hive_partitioning = false)"
    names = ", ".join(map(text, without))
    return f"(FROM {table} WHERE file NOT IN ({names}))" if names else table
