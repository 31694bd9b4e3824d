"""Removing local paths from messages before they leave this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LONGEST = 300
_PART = r"""[^\s/\\'",;:()]*"""


def without_paths(message: str, local_paths: Iterable[str] = ()) -> str:
    """The message with every path reduced to its last part, truncated for display.

    Paths are recognised by their slashes; `local_paths` are paths that may contain spaces.
    """
    for path in sorted(local_paths, key=len, reverse=True):
        if len(path) > 1:
            below = rf"(?<![\w/]){re.escape(path)}(?![\w-])(?:[/\\]{_PART})*"
            message = re.sub(below, lambda found: _last(found[0]), message)
    message = re.sub(rf"(?:\b[A-Za-z]:)?{_PART}[/\\](?:{_PART}[/\\])*{_PART}", lambda found: _last(found[0]), message)
    return message if len(message) <= _LONGEST else f"{message[: _LONGEST - 3]}..."


def _last(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or "..."
