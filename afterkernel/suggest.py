"""Suggestions for misspelt names: a close one, or none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# difflib's ratio: "kat" and "cat" have 0.67, "momentum" and "augment" 0.53.
_CLOSE = 0.65
_CLOSE_OPTION = 0.75


def closest(name: str, known: Iterable[str], cutoff: float = _CLOSE) -> str | None:
    """The known name that is closest to a misspelt one, whatever the case of its letters; None if none is close."""
    lowered = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=cutoff)
    return lowered[found[0]] if found else None


def closest_option(name: str, known: Iterable[str]) -> str | None:
    """The same for dotted options: the section or the last part must be right, and the other one close."""
    known = sorted(known)
    section, _, last = name.rpartition(".")
    same_section = {option.rpartition(".")[2]: option for option in known if option.rpartition(".")[0] == section}
    if (found := closest(last, same_section, _CLOSE_OPTION)) is not None:
        return same_section[found]
    same_last = {option.rpartition(".")[0]: option for option in known if option.rpartition(".")[2] == last}
    if section and (found := closest(section, same_last, _CLOSE_OPTION)) is not None:
        return same_last[found]
    # A section left out, as in lr=0.1.
    return next(iter(same_last.values())) if not section and len(same_last) == 1 else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The suggestion as part of a sentence, in brackets, or nothing."""
    found = closest(name, known)
    return "" if found is None else f" (did you mean {found}?)"
