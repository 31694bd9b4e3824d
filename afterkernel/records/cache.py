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
from afterkernel.records.store import (
    RecordFile,
    RunFolder,
    Stamp,
    check_any,
    folder_name,
    read_file,
    refuse_copies,
    select,
)

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


class _Known(NamedTuple):
    """What a cache has of one run, by the names of its files: their stamps, and sweep and run_id."""

    stamps: dict[str, Stamp]
    runs: dict[str, tuple[str, str]]


class _Rows(NamedTuple):
    """The rows of one run that count: some from the cache, which also has `unused` ones, and JSON lines by file."""

    runs: set[tuple[str, str]]
    cached: bool
    unused: list[str]
    fresh: list[tuple[str, str]]


def gather(execute: Execute, runs: Sequence[RunFolder], directory: Path | str, folder: Path) -> list[str]:
    """The rows of the records that count, as one or more tables in DuckDB's SQL over Parquet files in `folder`.

    `runs` are those at or below `directory`. Rows are in the order of their files, whichever come from a cache.
    UserError where there are none, or two folders hold the same run.
    """
    sweeps: dict[Path, list[RunFolder]] = {}
    for run in runs:
        sweeps.setdefault(run.path.parent if run.path.name else run.path / "..", []).append(run)
    parts: list[str] = []
    found: list[tuple[RunFolder, _Rows]] = []
    for number, (sweep, members) in enumerate(sweeps.items()):
        cached = folder / f"{number}.cached.parquet"
        known = _known(execute, sweep / CACHE, cached)
        of_sweep = [(run, _rows_of(run, known)) for run in members]
        found += of_sweep
        used = any(rows.cached for _, rows in of_sweep)
        unused = [file for _, rows in of_sweep for file in rows.unused]
        unused += [f"{name}/{file}" for name, other in known.items() for file in other.stamps]
        fresh = [lines for _, rows in of_sweep for lines in rows.fresh]
        part = _parquet(cached, unused) if used else ""
        if fresh:
            part = _merged(execute, (lines for _, lines in sorted(fresh)), part, folder / f"{number}")
            # Reading one run must not drop the others of its sweep from the cache.
            if len(fresh) >= FROM_RECORDS and members[0].path != Path(directory):
                _save(execute, part, folder / f"{number}.saved.parquet", sweep / CACHE)
        parts += [part] if part else []
    check_any(directory, [run for run, rows in found if rows.runs])
    refuse_copies((run.path, rows.runs) for run, rows in found)
    return parts


def text(value: str) -> str:
    """A string in SQL."""
    return "'" + value.replace("'", "''") + "'"


def _rows_of(run: RunFolder, known: dict[str, _Known]) -> _Rows:
    """The rows of a run that count; what is known of it is taken out of `known`."""
    # ASCII, whatever a folder is called: a name may have bytes that are no text.
    folder = ascii(folder_name(run.path))
    stamps, runs = known.pop(folder, _Known({}, {}))
    if stamps and stamps == run.listing:
        return _Rows(set(runs.values()), True, [], [])

    def load(file: RecordFile) -> tuple[str, tuple[str, str], str]:
        if stamps.get(file.name) == file.stamp:
            return file.name, runs[file.name], ""
        record = read_file(file)
        return file.name, (record.sweep, record.run_id), "".join(_lines(record, f"{folder}/{file.name}", file.stamp))

    chosen = select(run, load, lambda one: one[1][1])
    used = {name for name, _, lines in chosen if not lines}
    unused = [f"{folder}/{name}" for name in stamps if name not in used]
    fresh = [(f"{folder}/{name}", lines) for name, _, lines in chosen if lines]
    return _Rows({one[1] for one in chosen}, bool(used), unused, fresh)


def _lines(record: Record, file: str, stamp: Stamp) -> Iterable[str]:
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


def _known(execute: Execute, path: Path, copy: Path) -> dict[str, _Known]:
    """What a cache has, by the run's folder; it is copied to a safe name. Nothing if it can't be used."""
    import duckdb

    if not path.is_file():
        return {}
    try:
        digest, _, data = path.read_bytes().partition(b"\n")
        if digest != _digest(data):
            return {}
        copy.write_bytes(data)
        names = ", ".join((*_STAMP, "sweep", "run_id"))
        rows = execute(f"SELECT DISTINCT file, {names} FROM {_parquet(copy)}").fetchall()
    except (OSError, duckdb.Error):
        return {}
    known: dict[str, _Known] = {}
    for file, size, mtime_ns, ctime_ns, sweep, run_id in rows:
        folder, _, name = file.rpartition("/")
        if folder not in known:
            known[folder] = _Known({}, {})
        known[folder].stamps[name] = size, mtime_ns, ctime_ns
        known[folder].runs[name] = sweep, run_id
    return known


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
