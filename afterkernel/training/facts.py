"""Facts on disk: a frozen dataclass of plain values as JSON that carries its version, checked when it is read.

Missing optional fields read as their default and unknown ones are ignored, so that versions can add fields.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any, TypeVar

Facts = TypeVar("Facts")

VERSION = 1

_WORDS = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}


def encode(facts: Any) -> str:
    """A dataclass instance as indented JSON with sorted keys and its version."""
    return json.dumps({"version": VERSION, **dataclasses.asdict(facts)}, indent=2, sort_keys=True) + "\n"


def decode(cls: type[Facts], text: str) -> Facts:
    """The facts that `text` holds. Raises ValueError, in words that fit into a sentence, where they are not these."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is not valid JSON, perhaps cut short: {error}") from error
    if not isinstance(data, dict) or type(data.get("version")) is not int:
        raise ValueError("it names no version")
    version = data.pop("version")
    if version != VERSION:
        raise ValueError(f"its version is {version}, and this afterkernel reads {VERSION}; a later one may read it")
    hints = typing.get_type_hints(cls)
    missing, fields = dataclasses.MISSING, dataclasses.fields(cls)  # type: ignore[arg-type]
    required = {field.name for field in fields if field.default is missing and field.default_factory is missing}
    if lacking := required - data.keys():
        raise ValueError(f"{min(lacking)} is missing")
    known = {name: data[name] for name in hints if name in data}
    for name, value in known.items():
        _check(name, hints[name], value)
    return cls(**known)


def _check(name: str, hint: Any, value: Any) -> None:
    if typing.get_origin(hint) is list:
        if not isinstance(value, list):
            raise ValueError(f"{name} is not a list")
        for item in value:
            _check(name, typing.get_args(hint)[0], item)
        return
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    fits = type(value) in allowed or (type(value) is int and float in allowed)
    if not fits and not (value is None and types.NoneType in allowed):
        raise ValueError(f"{name} is {value!r}, where {_WORDS.get(allowed[0], 'something else')} belongs"[:120])
