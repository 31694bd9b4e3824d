"""Records as rows of typed columns, and back, without loss: what is read equals what was written, or an error says why.

A record has one row a kernel; what is said of the snapshot stands in each of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from afterkernel.store.columns import COLUMNS, Column
from afterkernel.store.record import SCHEMA_VERSION, KernelRecord, Record, Resources

Row = tuple[Any, ...]
_INDEX = {column.name: index for index, column in enumerate(COLUMNS)}
_OF_RECORD = [index for index, column in enumerate(COLUMNS) if column.owner is Record]
_WORDS = {float: "a number", int: "a whole number", str: "a string", bool: "true or false"}


class RecordError(ValueError):
    """What is wrong with a record, as the second half of a sentence; the caller names the file."""


def key(row: Row) -> tuple[int, str]:
    """Epoch and evaluation: what tells the records of one run from each other."""
    return row[_INDEX["epoch"]], row[_INDEX["evaluation_id"]]


def run_of(row: Row) -> tuple[str, str]:
    """Sweep and run."""
    return row[_INDEX["sweep"]], row[_INDEX["run_id"]]


def rows_of(record: Record) -> list[Row]:
    """The rows of a record. RecordError where they could not be read back as they are."""
    if record.schema_version != SCHEMA_VERSION:
        raise RecordError(f"its schema_version is {record.schema_version}, and {SCHEMA_VERSION} is written here")
    names = [kernel.kernel for kernel in record.kernels]
    if len(set(names)) != len(names) or not names:
        raise RecordError(f"its kernels are {', '.join(names) or 'none'}: it needs one or more, each once")
    return [
        tuple(_written(column, getattr(_holder(column, record, kernel), column.name)) for column in COLUMNS)
        for kernel in record.kernels
    ]


def records_of(rows: Iterable[Row]) -> list[Record]:
    """The records that rows hold, in the order of their first rows; each value's type is checked. RecordError."""
    groups: dict[tuple[tuple[str, str], tuple[int, str]], list[Row]] = {}
    for row in rows:
        groups.setdefault((run_of(row), key(row)), []).append(row)
    return [_record(group) for group in groups.values()]


def _holder(column: Column, record: Record, kernel: KernelRecord) -> Any:
    return {Record: record, KernelRecord: kernel, Resources: kernel.resources}[column.owner]


def _record(rows: Sequence[Row]) -> Record:
    first = rows[0]
    if any(row[index] != first[index] for row in rows[1:] for index in _OF_RECORD):
        raise RecordError(f"the rows of epoch {key(first)[0]} contradict each other")
    kernels = []
    for row in rows:
        resources = Resources(**_fields(Resources, row))
        kernels.append(KernelRecord(**_fields(KernelRecord, row), resources=resources))
    return Record(**_fields(Record, first), kernels=tuple(kernels))


def _fields(owner: type[Any], row: Row) -> dict[str, Any]:
    pairs = zip(COLUMNS, row, strict=True)
    return {column.name: _read(column, value) for column, value in pairs if column.owner is owner}


def _written(column: Column, value: Any) -> Any:
    if column.kind is dict:
        return _json(column.name, value)
    if column.kind is tuple and isinstance(value, tuple):
        value = list(value)
    return _checked(column, value)


def _read(column: Column, value: Any) -> Any:
    value = _checked(column, value)
    if column.kind is tuple:
        return tuple(value)
    if column.kind is not dict:
        return value
    try:
        tree = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{column.name} is no valid JSON: {error}") from error
    if not isinstance(tree, dict):
        raise RecordError(f"{column.name} is {_kind(tree)} where a mapping belongs")
    return tree


def _checked(column: Column, value: Any) -> Any:
    if value is None and column.optional:
        return None
    kind: type[Any] = list if column.kind is tuple else str if column.kind is dict else column.kind
    if kind is float and type(value) is int:
        value = _float(value)
    if type(value) is not kind:
        wanted = _WORDS.get(column.kind, "a list of strings")
        raise RecordError(f"{column.name} is {_kind(value)} where {wanted} belongs")
    if kind is float and not math.isfinite(value):
        raise RecordError(f"{column.name} is {value}, and a record holds finite numbers alone")
    if kind is int and not -(2**63) <= value < 2**63:
        raise RecordError(f"{column.name} is {value}, and a record holds whole numbers of 64 bits")
    for text in value if kind is list else [value]:
        if kind is list and type(text) is not str:
            raise RecordError(f"{column.name} holds {_kind(text)} where a string belongs")
        if isinstance(text, str) and not _is_unicode(text):
            raise RecordError(f"{column.name} is {text!r}, which is not Unicode text")
    return value


def _json(name: str, tree: Any) -> str:
    _check_finite(name, tree)
    try:
        text = json.dumps(tree, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(f"{name} is not plain data: {error}") from error
    if not isinstance(tree, dict) or json.loads(text) != tree:
        raise RecordError(f"{name} holds more than strings, numbers, true, false, null, lists and mappings")
    return text


def _check_finite(name: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise RecordError(f"{name} is {value}, and a record holds finite numbers alone")
    if isinstance(value, dict):
        for inner, item in value.items():
            _check_finite(f"{name}.{inner}", item)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_finite(f"{name}[{index}]", item)


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", tuple: "a tuple", str: "a string", bool: "true or false"}
    return names.get(type(value), "missing" if value is None else f"{value!r}"[:60])
