"""Progress of long work: a bar with an estimate on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

Advance = Callable[[float], None]
SECONDS_BETWEEN_LINES = 15.0
NO_BARS = "AFTERKERNEL_NO_BARS"


def has_bars() -> bool:
    """Whether long work shows a bar: on a terminal, unless several processes share it."""
    return sys.stderr.isatty() and NO_BARS not in os.environ


@contextmanager
def progress(description: str, total: float) -> Iterator[Advance]:
    """Show progress towards `total` while the block runs; it is given a function to call with each amount done."""
    if has_bars():
        with _bar(description, total) as advance:
            yield advance
    else:
        yield _lines(description, total)


@contextmanager
def _bar(description: str, total: float) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda amount: bar.advance(task, amount)


def _lines(description: str, total: float) -> Advance:
    started = last = time.monotonic()
    done = 0.0

    def advance(amount: float) -> None:
        nonlocal done, last
        done += amount
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES and done < total:
            last = now
            left_s = (now - started) * (total - done) / done
            log.info("%s: %.0f %%, about %.0f s left", description, 100 * done / total, left_s)

    return advance
