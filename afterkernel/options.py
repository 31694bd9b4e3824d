"""Options: dataclass fields that carry their own help and bounds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from afterkernel.errors import UserError

# What a whole number may be where its option sets no bound: torch, libsvm and SLURM count in 32 bits.
LARGEST_INT = 2**31 - 1

_TYPES: dict[str, tuple[tuple[type, ...], str, str]] = {
    "float": ((int, float), "a number", "a list of numbers, such as [0.25,0.5]"),
    "int": ((int,), "a whole number", "a list of whole numbers, such as [0,1,2]"),
    "bool": ((bool,), "true or false", "a list of true and false"),
    "str": ((str,), "a string", "a list of names, such as [a,b]"),
}


def option(  # noqa: PLR0913 (a declaration, all by name)
    default: Any,
    help: str,
    *,
    choices: Collection[str] = (),
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    unique: bool = True,
    affects_results: bool = True,
    redact: bool = False,
    unordered: bool = False,
    alternative: str = "",
) -> Any:
    """A dataclass field with one line of help, and with the values that it may take.

    A list or a dictionary as default is copied for each instance, and a class or a function is called. `choices` are
    the strings allowed, or a registry whose names are allowed; `at_least`, `above` and `at_most` bound a number (or
    each number of a list). Numbers are finite, whole numbers at most `LARGEST_INT` in size where no bound says
    otherwise, and a list holds no value twice unless `unique` is false. `affects_results` says whether a run's numbers
    depend on the value, which is then part of the run's identity: a device, a path or a memory budget is not. `redact`
    marks what stays on this machine, such as a local path: it is never sent to W&B. `unordered` says that the order of
    a list changes no number. `alternative` is a word that may be given instead of a list of strings, or of a whole
    number; OmegaConf has no such type, so that the field must be annotated as Any, and the default tells the type.
    """
    metadata = {
        "help": help,
        "choices": choices if isinstance(choices, Mapping) else tuple(choices),  # a registry grows with plugins
        "at_least": at_least,
        "above": above,
        "at_most": at_most,
        "unique": unique,
        "affects_results": affects_results,
        "redact": redact,
        "unordered": unordered,
        "alternative": alternative,
    }
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: default.copy(), metadata=metadata)
    if callable(default):
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


@dataclasses.dataclass(frozen=True)
class OptionType:
    """The type of an option: `base` is the name of a type; the values are lists of it if `is_list`; null may be one."""

    base: str
    is_list: bool
    is_optional: bool


def option_type(field: dataclasses.Field[Any]) -> OptionType:
    """The type of an option, whether its module postpones the evaluation of annotations or not."""
    if field.metadata.get("alternative"):
        is_number = isinstance(field.default, int)
        return OptionType("int" if is_number else "str", is_list=not is_number, is_optional=False)
    text = field.type.__name__ if isinstance(field.type, type) else str(field.type)
    plain = text.removesuffix(" | None")
    return OptionType(plain.removeprefix("list[").removesuffix("]"), plain.startswith("list["), plain != text)


def wanted(field: dataclasses.Field[Any]) -> str:
    """What the values of an option look like, in words."""
    kind = option_type(field)
    if kind.base not in _TYPES:
        return kind.base
    _, words, of_list = _TYPES[kind.base]
    words = of_list if kind.is_list else words
    if kind.is_list and (choices := field.metadata["choices"]):
        words = f"a list of names, such as [{','.join(list(choices)[:2])}]"
    if alternative := field.metadata.get("alternative"):
        words += f", or {alternative}"
    return f"{words} or null" if kind.is_optional else words


def bounds(field: dataclasses.Field[Any]) -> str:
    """The bounds of an option's numbers in words, such as "above 0, at most 1"; empty where it has none."""
    words = {"at_least": "at least", "above": "above", "at_most": "at most"}
    limits = {key: field.metadata[key] for key in words}
    return ", ".join(f"{words[key]} {_bound(limit)}" for key, limit in limits.items() if limit is not None)


def check_bounds(node: Any, prefix: str = "") -> None:
    """Raise UserError for the first option below `node` whose value its field does not allow."""
    for name, field, value in walk(node, prefix):
        items = value if isinstance(value, list) else [value]
        alternative = field.metadata["alternative"]
        if alternative and value == alternative:
            continue
        if alternative and option_type(field).is_list and not isinstance(value, list):
            raise UserError(f"{name}={_shown(value)} has the wrong type: it must be {wanted(field)}.")
        for item in items:
            check_value(name, field, item, value)
        if field.metadata["unique"] and len(set(items)) < len(items):
            twice = next(item for item in items if items.count(item) > 1)
            raise UserError(f"{name}={_listed(items)} names {_shown(twice)} twice: give each value once.")


def check_value(name: str, field: dataclasses.Field[Any], value: Any, whole: Any) -> None:
    """Raise UserError for a value that its field does not allow; `whole` is the list that it is in, or itself."""
    allowed = field.metadata
    given = f"{name}={_shown(value)}"
    kind = option_type(field)
    if kind.base in _TYPES and not (value is None and kind.is_optional):
        types = _TYPES[kind.base][0]
        if not isinstance(value, types) or (isinstance(value, bool) and kind.base != "bool"):
            written = f"{name}={_listed(whole)}" if isinstance(whole, list) else given
            raise UserError(f"{written} has the wrong type: it must be {wanted(field)}.")
    if choices := allowed["choices"]:
        if value not in choices:
            raise UserError(f"{given} is not known: choose one of {', '.join(choices)}.")
        return
    if isinstance(value, str):
        _check_text(name, value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if value != value:
        raise UserError(f"{given} is not a number: give a number.")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{given} is not finite: give a finite number.")
    at_least, above, at_most = allowed["at_least"], allowed["above"], allowed["at_most"]
    if at_most is None and isinstance(value, int) and kind.base == "int":
        at_most = LARGEST_INT
    if at_least is not None and value < at_least:
        raise UserError(f"{given} is too small: it must be at least {_bound(at_least)}.")
    if above is not None and value <= above:
        raise UserError(f"{given} is too small: it must be greater than {_bound(above)}.")
    if at_most is not None and value > at_most:
        raise UserError(f"{given} is too large: it must be at most {_bound(at_most)}.")


def _check_text(name: str, value: str) -> None:
    """Text goes into JSON, YAML and file names: it must be text, on one line."""
    if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise UserError(f"{name}={value!a} is not valid UTF-8: use UTF-8, or set LC_ALL=C.UTF-8 where the locale is C.")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise UserError(f"{name}={value!a} holds a control character: write plain text on one line.")


def _listed(values: Sequence[Any]) -> str:
    return f"[{','.join(map(_shown, values))}]"


def _bound(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return _listed(value)
    if isinstance(value, int) and abs(value) >= 10**60:
        return "(a number of more than 60 digits)"
    return str(value)
