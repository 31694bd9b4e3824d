"""Dataclasses of plain values as JSON, checked against their types when they are read.

Missing optional fields read as their default and unknown ones are ignored, so that versions can add fields.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Data = TypeVar("Data")

VERSION = 1


def encode(data: Any) -> str:
    """A dataclass instance as indented JSON with sorted keys and its version."""
    return json.dumps({"version": VERSION, **dataclasses.asdict(data)}, indent=2, sort_keys=True) + "\n"


def decode(cls: type[Data], text: str) -> Data:
    """What `encode` wrote. Raises ValueError, with words that fit into a sentence, for any other text."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is not valid JSON, perhaps cut short: {error}") from error
    version = found.get("version") if isinstance(found, dict) else None
    if type(version) is not int:
        raise ValueError("it names no version")
    if version != VERSION:
        raise ValueError(f"its version is {version}, and this afterkernel reads {VERSION}; a later one may read it")
    return parse(cls, text)


def parse(cls: type[Data], text: str) -> Data:
    """The same for JSON without a version."""
    from pydantic import ValidationError

    try:
        found: Data = adapter(cls).validate_json(text, strict=True)  # type: ignore[arg-type]
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = ".".join(map(str, fault["loc"])) or "the whole"
        raise ValueError(f"{name} is missing" if fault["type"] == "missing" else f"{name}: {fault['msg']}") from error
    return found


@functools.cache
def adapter(cls: type[Any]) -> TypeAdapter[Any]:
    """Pydantic's reader of a dataclass; it is made once."""
    from pydantic import TypeAdapter

    return TypeAdapter(cls)
