"""Records in one compressed Parquet file, which `results --export` writes: one row per snapshot and kernel.

The columns are those of the results, one for each measure included, and what rebuilds every record exactly: `config`,
`provenance` and `measure_columns` (the column of each measure of the row, by name) as JSON, and NAME_json for each list
of strings, which a column of the results joins. Rows are in the order of sweep, run_id, step, evaluation_id and kernel.

The metadata hold the SHA-256 of the whole file with its own 64 digits as zeros, so that every changed byte is detected.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from glob import escape
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from afterkernel.errors import UserError
from afterkernel.records.columns import COLUMNS, MEASURES_COLUMN, rows
from afterkernel.records.connection import connect, interruptible, sql_string
from afterkernel.records.document import RecordError, parse
from afterkernel.records.files import write_atomic
from afterkernel.records.record import KernelRecord, Record, Resources, is_configured

_KEY = ("sweep", "run_id", "step", "evaluation_id")
_MEASURE_COLUMNS = "measure_columns"
_SUFFIX = "_json"
_JSON = [column.name for column in COLUMNS if column.kind is dict and column.name != MEASURES_COLUMN]
_LISTS = [column.name for column in COLUMNS if column.kind is tuple]
_TYPES = {column.name: column.sql for column in COLUMNS if column.kind is not dict}
_TYPES_AFTER = dict.fromkeys([*_JSON, _MEASURE_COLUMNS, *(f"{name}{_SUFFIX}" for name in _LISTS)], "VARCHAR")
_MAGIC = b"PAR1"
_NO_DIGEST = b"0" * 64
# In the metadata: a key and, after the type and length of a string of 64 bytes in Thrift, its value.
_DIGEST_KEY = "afterkernel_sha256"
_SEAL = re.compile(rb"afterkernel_sha256\x18@([0-9a-f]{64})")


def export(records: Iterable[Record], path: Path) -> list[Record]:
    """Add records to a file and return all that it holds then; of the same snapshot and evaluation the new one counts.

    Records of two trainings of one run are never mixed: the training with an end counts, the new one if both have
    ended. The file is replaced atomically, and only by one that holds every record that counts. UserError if the file
    exists and is damaged or no such file, or was written by a later version, or can't be written.
    """
    path = path.resolve()  # a link stays one
    if not path.parent.is_dir():
        raise UserError(f"--export {path}: there is no folder {path.parent}: make it first.")
    with _only_writer(path.parent):
        known = _read(path, for_merging=True) if os.path.lexists(path) else []
        found = sorted(_merged(known, records), key=_key)
        write_atomic(path, _encoded(found))
    return found


def read_exported(path: Path) -> list[Record]:
    """The records in a file, sorted by sweep, run_id, step and evaluation_id.

    UserError if it is no such file, is damaged or was edited.
    """
    return _read(path, for_merging=False)


def _merged(known: Iterable[Record], new: Iterable[Record]) -> Iterator[Record]:
    """The records of both, in any order."""
    runs, new_runs = _by_run(known), _by_run(new)
    for name, run in new_runs.items():
        before = runs.get(name, {})
        if not _trained_again(before, run):
            runs[name] = before | run
        elif _ends(run) or not _ends(before):
            runs[name] = run
    for run in runs.values():
        yield from run.values()


def _by_run(records: Iterable[Record]) -> dict[tuple[str, str, str], dict[int, Record]]:
    """The records by run and evaluation, and by step."""
    found: dict[tuple[str, str, str], dict[int, Record]] = {}
    for record in records:
        found.setdefault((record.sweep, record.run_id, record.evaluation_id), {})[record.step] = record
    return found


def _trained_again(before: dict[int, Record], run: dict[int, Record]) -> bool:
    """Whether the records are of two trainings, as on two machines: with other weights, or that end elsewhere.

    A training that Recorder recorded may be continued after its end.
    """
    hashes = [{step: one.provenance.get("snapshot_sha256") for step, one in each.items()} for each in (before, run)]
    if any(hashes[0][step] != hashes[1][step] for step in before.keys() & run.keys()):
        return True
    ends = _ends(before), _ends(run)
    return all(ends) and ends[0] != ends[1] and all(map(is_configured, run.values()))


def _ends(run: dict[int, Record]) -> set[int]:
    return {step for step, record in run.items() if record.final}


def _key(record: Record) -> tuple[Any, ...]:
    return tuple(getattr(record, name) for name in _KEY)


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Wait until no other process exports into the folder: two at once would lose the records of one."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _encoded(records: Sequence[Record]) -> bytes:
    """The file for sorted records; checked to hold them exactly."""
    measures = _measure_columns(records)
    types = _TYPES | dict.fromkeys(measures.values(), "DOUBLE") | _TYPES_AFTER
    with tempfile.TemporaryDirectory(prefix="afterkernel-") as folder:
        source, target = Path(folder, "rows.json"), Path(folder, "rows.parquet")
        with source.open("w", encoding="utf-8", newline="") as file:
            for record in records:
                file.writelines(f"{json.dumps(row, allow_nan=False)}\n" for row in _rows(record, measures))
        columns = ", ".join(f"{sql_string(name)}: {sql_string(kind)}" for name, kind in types.items())
        query = (
            f"COPY (FROM read_json({sql_string(escape(str(source)))}, format = 'newline_delimited', "
            f"columns = {{{columns}}}, hive_partitioning = false, maximum_object_size = {2**30})) "
            f"TO {sql_string(str(target))} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 19, "
            f"KV_METADATA {{{_DIGEST_KEY}: '{_NO_DIGEST.decode()}'}})"
        )
        with connect() as engine:
            interruptible(engine, lambda: engine.execute(query))
        data = _sealed(target.read_bytes())
        target.write_bytes(data)
        if read_exported(target) != list(records):
            raise RuntimeError("the exported records differ from those read: nothing was written")
    return data


def _measure_columns(records: Iterable[Record]) -> dict[str, str]:
    """The column of each measure; DuckDB ignores case in names, so that some need a number after theirs."""
    names = {name for record in records for kernel in record.kernels for name in kernel.measures}
    taken = {name.lower() for name in (*_TYPES, *_TYPES_AFTER)}
    found = {}
    for name in sorted(names):
        column, number = name, 2
        while column.lower() in taken:
            column, number = f"{name}_{number}", number + 1
        taken.add(column.lower())
        found[name] = column
    return found


def _rows(record: Record, measures: dict[str, str]) -> Iterator[dict[str, Any]]:
    for kernel, row in zip(record.kernels, rows(record), strict=True):
        parts = {**vars(record), **vars(kernel)}
        exact = {name: json.dumps(parts[name], allow_nan=False) for name in _JSON}
        exact |= {f"{name}{_SUFFIX}": json.dumps(parts[name]) for name in _LISTS}
        exact[_MEASURE_COLUMNS] = json.dumps({name: measures[name] for name in kernel.measures})
        numbers = {measures[name]: value for name, value in kernel.measures.items()}
        yield {name: row[name] for name in _TYPES} | numbers | exact


def _sealed(data: bytes) -> bytes:
    """The file with its SHA-256 in place of the zeros."""
    (match,) = _SEAL.finditer(data)
    digest = hashlib.sha256(data).hexdigest().encode()
    return data[: match.start(1)] + digest + data[match.end(1) :]


def _check(path: Path, data: bytes) -> None:
    """Raise UserError unless the bytes are those that were written."""
    seals = list(_SEAL.finditer(data))
    for match in seals:
        plain = data[: match.start(1)] + _NO_DIGEST + data[match.end(1) :]
        if hashlib.sha256(plain).hexdigest().encode() == match[1]:
            return
    if not seals and data[:4] != _MAGIC and data[-4:] != _MAGIC:
        raise UserError(
            f"{path} is not a file that results --export wrote: name such a file, a run, a sweep, or the folder of all "
            "sweeps."
        )
    raise UserError(
        f"{path} is damaged or was edited (its checksum {'does not match' if seals else 'is missing'}): restore the "
        "file that results --export wrote."
    )


def _read(path: Path, *, for_merging: bool) -> list[Record]:
    import duckdb

    try:
        data = path.read_bytes() if path.is_file() else b""
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}).") from error
    _check(path, data)
    with tempfile.TemporaryDirectory(prefix="afterkernel-") as folder, connect() as engine:
        copy = Path(folder, "rows.parquet")  # the file may be replaced meanwhile, and its name may hold wildcards
        copy.write_bytes(data)
        query = f"FROM read_parquet({sql_string(escape(str(copy)))}, hive_partitioning = false)"
        try:
            table = interruptible(engine, lambda: engine.execute(query))
            names = [name for name, *_ in table.description]
            found = [dict(zip(names, row, strict=True)) for row in interruptible(engine, table.fetchall)]
        except duckdb.Error as error:
            raise UserError(f"{path} can't be read as Parquet: {str(error).splitlines()[0]}.") from error
    if for_merging and (unknown := _unknown(names, found)):
        raise UserError(
            f"{path} was written by a later afterkernel, which knows {', '.join(unknown)}: add to it with that one."
        )
    try:
        return [_record(list(group)) for _, group in groupby(found, itemgetter(*_KEY))]
    except (RecordError, KeyError, ValueError) as fault:
        raise UserError(f"{path} can't be read by this version: a record in it {fault}.") from fault


def _unknown(names: Iterable[str], found: Iterable[dict[str, Any]]) -> list[str]:
    """The columns that this version would lose."""
    texts = {row[_MEASURE_COLUMNS] for row in found}
    known = {column for text in texts for column in json.loads(text).values()}
    return [name for name in names if name not in (*_TYPES, *_TYPES_AFTER, *known)]


def _record(kernel_rows: Sequence[dict[str, Any]]) -> Record:
    """The record of the rows of its kernels. RecordError if it is of another version."""
    kernels = []
    for row in kernel_rows:
        columns = json.loads(row[_MEASURE_COLUMNS])
        measures = json.dumps({name: row[column] for name, column in columns.items()})
        kernels.append(_object(KernelRecord, row, resources=_object(Resources, row), measures=measures))
    return parse(_object(Record, kernel_rows[0], kernels=f"[{','.join(kernels)}]").encode())


def _object(owner: type[Any], row: dict[str, Any], **parts: str) -> str:
    """The JSON of a part of the record; `parts` are those in it. A column that is missing is left out."""
    texts = dict(parts)
    for field in dataclasses.fields(owner):
        name = field.name
        if name in _LISTS or name in _JSON:
            column = name if name in _JSON else f"{name}{_SUFFIX}"
            if column in row:
                texts[name] = row[column]
        elif name not in parts and name in row:
            texts[name] = json.dumps(row[name])
    return "{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in texts.items()) + "}"
