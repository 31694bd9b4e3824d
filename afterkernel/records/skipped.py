"""The warning for files that are damaged or do not belong where they are, and are therefore skipped."""

from __future__ import annotations

import warnings
from pathlib import Path


class SkippedWarning(UserWarning):
    """A file or folder was skipped because it can not be read or does not belong there."""


def warn_skipped(path: Path | str, reason: str) -> None:
    """Warn that something is skipped; `reason` is the rest of a sentence that begins with the path."""
    warnings.warn(f"{path} {reason}", SkippedWarning, stacklevel=2)
