"""Warnings of skipped items on the terminal."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from afterkernel.records.skipped import SkippedWarning


@contextmanager
def reporting_skipped() -> Iterator[set[str]]:
    """Print each SkippedWarning once to standard error while the block runs; yields the set of them."""
    seen: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", SkippedWarning)
        show_others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: object) -> None:
            if not issubclass(category, SkippedWarning):
                show_others(message, category, *rest)  # type: ignore[arg-type]
            elif str(message) not in seen:
                seen.add(str(message))
                print(f"afterkernel: warning: skipped: {message}", file=sys.stderr)

        warnings.showwarning = show  # type: ignore[assignment]
        yield seen
