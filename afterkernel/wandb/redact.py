"""Sentences that may leave this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LONGEST = 300
_PART = r"""[^\s/\\'",;:()]*"""


def without_paths(sentence: str, places: Iterable[str] = ()) -> str:
    """The sentence with every path reduced to its last part, cut to a length that a table can show.

    `places` are paths that may hold spaces, as text; others are recognised by their slashes.
    """
    for place in sorted(places, key=len, reverse=True):
        if len(place) > 1:
            below = rf"(?<![\w/]){re.escape(place)}(?![\w-])(?:[/\\]{_PART})*"
            sentence = re.sub(below, lambda found: _last(found[0]), sentence)
    sentence = re.sub(rf"(?:\b[A-Za-z]:)?{_PART}[/\\](?:{_PART}[/\\])*{_PART}", lambda found: _last(found[0]), sentence)
    return sentence if len(sentence) <= _LONGEST else f"{sentence[: _LONGEST - 3]}..."


def _last(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or "..."
