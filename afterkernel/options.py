"""Options: dataclass fields that carry their own help and bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from afterkernel.errors import UserError


def option(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] = (),
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    decides: bool = True,
    private: bool = False,
    unordered: bool = False,
) -> Any:
    """A dataclass field with one line of help, and with the values that it may take.

    `choices` lists the strings allowed; `at_least`, `above` and `at_most` bound a number (or each number of a list).
    `decides` says whether the value decides a run's numbers, and so belongs to the run's identity: a device, a path or
    a memory budget does not. `private` marks what stays on this machine, such as a local path: no mirror is told of it.
    `unordered` says that the order of a list changes no number.
    """
    metadata = {
        "help": help,
        "choices": tuple(choices),
        "at_least": at_least,
        "above": above,
        "at_most": at_most,
        "decides": decides,
        "private": private,
        "unordered": unordered,
    }
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: default.copy(), metadata=metadata)
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def walk(node: Any, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """Every leaf option below a dataclass instance: its dotted name, its field and its value."""
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        name = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from walk(value, f"{name}.")
        else:
            yield name, field, value


def check_bounds(node: Any, prefix: str = "") -> None:
    """Raise UserError for the first option below `node` whose value its field does not allow."""
    for name, field, value in walk(node, prefix):
        for item in value if isinstance(value, list) else [value]:
            _check_value(name, field.metadata, item)


def _check_value(name: str, allowed: Any, value: Any) -> None:
    choices = allowed.get("choices", ())
    if choices and value not in choices:
        raise UserError(f"{name}={value} is not known: choose one of {', '.join(choices)}.")
    if value is None or isinstance(value, (str, bool)):
        return
    if value != value:
        raise UserError(f"{name}={value} is not a number.")
    at_least, above, at_most = allowed.get("at_least"), allowed.get("above"), allowed.get("at_most")
    if at_least is not None and value < at_least:
        raise UserError(f"{name}={value} is too small: it must be at least {_shown(at_least)}.")
    if above is not None and value <= above:
        raise UserError(f"{name}={value} is too small: it must be greater than {_shown(above)}.")
    if at_most is not None and value > at_most:
        raise UserError(f"{name}={value} is too large: it must be at most {_shown(at_most)}.")


def _shown(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"
