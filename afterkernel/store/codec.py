"""Records as JSON text, and back, without loss: what is read equals what was written, or an error says why not."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from typing import Any

from afterkernel.store.record import SCHEMA_VERSION, Record


class RecordError(ValueError):
    """What is wrong with a record, as the second half of a sentence; the caller names the file."""


def encode(record: Record) -> str:
    """The record as indented JSON with sorted keys. RecordError where it could not be read back as it is."""
    data = dataclasses.asdict(record)
    _check_finite(data, "")
    try:
        text = json.dumps(data, indent=2, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RecordError(f"it is not plain data: {error}") from error
    if decode(text) != record:
        raise RecordError(
            "its config or provenance holds more than strings, numbers, true, false, null, lists and mappings"
        )
    return text + "\n"


def decode(text: str) -> Record:
    """The record that `text` holds. RecordError where it is not one, each type and each key checked."""
    try:
        data = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecordError:
        raise
    except (ValueError, RecursionError) as error:
        raise RecordError(f"it is no valid JSON, perhaps cut short: {error}") from error
    if not isinstance(data, dict):
        raise RecordError(f"it holds {_kind(data)} where a mapping belongs")
    version = data.get("schema_version")
    if isinstance(version, bool) or not isinstance(version, int):
        raise RecordError("it names no schema_version")
    if version > SCHEMA_VERSION:
        raise RecordError(
            f"its schema_version is {version} and this afterkernel reads {SCHEMA_VERSION}: take a later one"
        )
    if version < SCHEMA_VERSION:
        raise RecordError(
            f"its schema_version is {version} and this afterkernel reads {SCHEMA_VERSION}: evaluate it again"
        )
    return typing.cast(Record, _build(Record, data, ""))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        names = [name for name, _ in pairs]
        raise RecordError(f"it has two values for {next(name for name in names if names.count(name) > 1)}")
    return data


def _refuse_constant(name: str) -> Any:
    raise RecordError(f"it holds {name}, and a record holds finite numbers alone")


def _build(cls: type[Any], data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise RecordError(f"{where} is {_kind(data)} where a mapping belongs")
    hints = typing.get_type_hints(cls)
    prefix = f"{where}." if where else ""
    for name in hints:
        if name not in data:
            raise RecordError(f"{prefix}{name} is missing")
    for name in data:
        if name not in hints:
            raise RecordError(f"{prefix}{name} is not known")
    return cls(**{name: _value(hint, data[name], f"{prefix}{name}") for name, hint in hints.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast("type[Any]", hint), value, where)
    origin = typing.get_origin(hint)
    if origin is types.UnionType or origin is typing.Union:
        if value is None:
            return None
        (inner,) = [option for option in typing.get_args(hint) if option is not types.NoneType]
        return _value(inner, value, where)
    if origin is tuple and isinstance(value, list):
        item = typing.get_args(hint)[0]
        return tuple(_value(item, one, f"{where}[{index}]") for index, one in enumerate(value))
    if origin is dict and isinstance(value, dict):
        _check_finite(value, where)
        return value
    if hint is float and type(value) in (int, float):
        return _number(value, where)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    wanted = {float: "a number", int: "a whole number", str: "a string", bool: "true or false"}
    raise RecordError(
        f"{where} is {_kind(value)} where {wanted.get(hint, 'a list' if origin is tuple else 'a mapping')} belongs"
    )


def _number(value: float, where: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    _check_finite(number, where)
    return number


def _check_finite(value: Any, where: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise RecordError(f"{where} is {value}, and a record holds finite numbers alone")
    if isinstance(value, dict):
        for name, item in value.items():
            _check_finite(item, f"{where}.{name}" if where else str(name))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_finite(item, f"{where}[{index}]")


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), f"the number {value!r}"[:60])
