"""Damaged items: each is named in a warning and skipped."""

from __future__ import annotations

import warnings
from pathlib import Path


class SkippedWarning(UserWarning):
    """A file or folder that can't be read or does not belong where it lies, and was therefore skipped."""


def warn_skipped(path: Path | str, reason: str) -> None:
    """Warn that something is skipped; `reason` is the rest of a sentence that begins with the path."""
    warnings.warn(f"{path} {reason}", SkippedWarning, stacklevel=2)
