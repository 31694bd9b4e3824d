"""Values as they are written, before OmegaConf converts them: it takes 2 for true, and 1e3 for the text "1000.0"."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

from hydra.core.override_parser.types import QuotedString

from afterkernel.config.catalogue import every_option
from afterkernel.errors import UserError
from afterkernel.options import option_type, wanted

# What ${...:} may name; Hydra's and OmegaConf's other ones are not about options.
_RESOLVERS = ("oc.env", "oc.decode", "now")
_TRUTH = ("true", "false", "yes", "no", "on", "off")


def check_written(name: str, value: Any, text: str | None = None, place: str = "") -> None:
    """Raise UserError if the value of an option is a placeholder, or would silently be converted to another value.

    `text` is the value as written on a command line, and `place` the beginning of the message.
    """
    fields = every_option().get(name, [])
    for item in _items(value):
        plain = item.text if isinstance(item, QuotedString) else item
        if plain == "???":
            raise UserError(f"{place}{name}=??? has no value: give one.")
        if isinstance(plain, str):
            _check_references(f"{place}{name}={plain}", plain)
        if fields and not isinstance(value, dict):
            _check_type(name, fields[-1], item, text, place)


def check_all_written(node: Any, place: str = "", prefix: str = "") -> None:
    """Check the options of a file, given as nested dictionaries, in the same way; also their nesting."""
    options = every_option()
    for key, value in node.items():
        name = f"{prefix}{key}"
        if name in options:
            _check_list_or_scalar(name, options[name][-1], value, place)
            check_written(name, value, place=place)
        elif isinstance(value, dict):
            check_all_written(value, place, f"{name}.")
        elif any(option.startswith(f"{name}.") for option in options):
            shown = json.dumps(value, default=str)
            raise UserError(f"{place}{name}={shown} is not a section: write its options below it, each as name: value.")


def _check_list_or_scalar(name: str, field: dataclasses.Field[Any], value: Any, place: str) -> None:
    """Raise UserError for a single value where a list is expected, a list where it is not, or an invalid null."""
    kind = option_type(field)
    fits = isinstance(value, (list, str)) if kind.is_list else not isinstance(value, (list, dict))
    if kind.is_list and isinstance(value, str):
        fits = "${" in value or value == field.metadata["alternative"]
    if not (fits and (value is not None or kind.is_optional)):
        shown = json.dumps(value, separators=(",", ":"), default=str) if not isinstance(value, str) else value
        raise UserError(f"{place}{name}={shown} has the wrong type: it must be {wanted(field)}.")


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _items(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _items(item)
    else:
        yield value


def _check_type(name: str, field: dataclasses.Field[Any], item: Any, text: str | None, place: str) -> None:
    kind = option_type(field).base
    plain = item.text if isinstance(item, QuotedString) else item
    if plain is None or (isinstance(plain, str) and "${" in plain):
        return
    if kind == "bool" and not isinstance(plain, bool) and str(plain).lower() not in _TRUTH:
        raise UserError(f"{place}{name}={plain} has the wrong type: it must be {wanted(field)}.")
    if kind != "str" or not isinstance(plain, (bool, int, float)):
        return
    if text is None:
        shown, changed, cure = str(plain).lower(), isinstance(plain, (bool, float)), "put quotes around it"
    else:
        words = re.split(r"[\s,\[\]()]+", text)
        shown, changed, cure = text, str(plain) not in words, f"write quotes within quotes, as \"{name}='{text}'\""
        cure = cure if len(words) == 1 else "put quotes around each text, and around the whole argument"
    if changed and (choices := field.metadata["choices"]):
        raise UserError(f"{place}{name}={shown} is not known: choose one of {', '.join(choices)}.")
    if changed:
        raise UserError(f"{place}{name}={shown} would be read as the text {plain}: {cure}.")


def _check_references(shown: str, text: str) -> None:
    """Raise UserError for a reference of an unknown kind in a value; `shown` begins the message."""
    for found in re.finditer(r"\$\{\s*([\w.]+)\s*:", text):
        if found[1] not in _RESOLVERS:
            raise UserError(
                f"{shown}: ${{{found[1]}:...}} is not a valid reference: write ${{OPTION}} or ${{oc.env:VARIABLE}}."
            )
