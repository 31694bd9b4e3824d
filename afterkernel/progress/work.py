"""The progress of a process: nested stages of work.

    with progress("Gram matrix", total) as advance: advance(amount)         work whose amount is known
    with stage("SVM exact"): report(step=3, gap=1e-7)                        work whose amount is not

Within `watched` (see `runs.progress_file`) the stages go to a file of the run's folder. Elsewhere a stage
costs next to nothing, and `progress` alone shows a bar on a terminal. Every `SECONDS_BETWEEN_LINES` a stage that moves
is a line of the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from afterkernel.text import duration

log = logging.getLogger(__name__)

Advance = Callable[[float], None]
SECONDS_BETWEEN_LINES = 15.0

# What marks a line of the log that a display on the terminal shows already.
ON_DISPLAY = {"on_display": True}


@dataclass(frozen=True)
class Progress:
    """The progress of a run. Times of day are in seconds since 1970, by the clock of the run's machine.

    `stage` is the innermost stage, `fraction` the part of it that is done and `left_s` what it will still take; None
    if unknown. `run_left_s` and `run_fraction` are those of the whole run. `silent_since` is when a stage began
    that says nothing of how far it is.
    """

    stage: str
    words: str
    fraction: float | None
    left_s: float | None
    run_fraction: float | None
    run_left_s: float | None
    silent_since: float | None
    began: float
    written: float


class Stage:
    """One stage of work: what is done of `total`, or only that it goes on where that is None.

    `unit` with `units` says what the calls of `advance` are, such as the tiles of a matrix. The run ends with the stage
    where it is `last`.
    """

    def __init__(
        self, name: str, total: float | None = None, *, unit: str = "", units: int = 0, last: bool = False
    ) -> None:
        self.name, self.total, self.unit, self.units, self.last = name, total, unit, units, last
        self.done = self.first = 0.0
        self.calls = 0
        self.detail = ""
        self.step: int | None = None
        self.gap: float | None = None
        self.since = time.time()
        self.began = self.moved = self._told = time.monotonic()

    def start_at(self, done: float) -> None:
        """What was done before, and says nothing of how fast the rest will be."""
        self.done = self.first = done
        self.began = self.moved = time.monotonic()

    def advance(self, amount: float = 1.0) -> None:
        """So much more is done."""
        self.calls += 1
        self.at(self.done + amount)

    def at(self, done: float, detail: str | None = None) -> None:
        """So much is done by now; `detail` says what is being done."""
        self.done, self.moved = done, time.monotonic()
        if detail is not None:
            self.detail = detail
        self.line()

    @property
    def fraction(self) -> float | None:
        """The part that is done; None if unknown."""
        return min(self.done / self.total, 1.0) if self.total else None

    @property
    def left_s(self) -> float | None:
        """What the rest will take at the pace so far; None before the first step."""
        if not self.total or self.done <= self.first:
            return None
        pace = (self.moved - self.began) / (self.done - self.first)
        return max(pace * (self.total - self.done) - (time.monotonic() - self.moved), 0.0)

    @property
    def detail_text(self) -> str:
        """How far it is, in words; empty where it says nothing, as of a stage whose name says it."""
        words = list[str]()
        if self.last:
            return ""
        if self.gap is not None:
            words.append(f"gap {min(max(self.gap, 0.0), 1.0):.0e}")
        if self.step is not None:
            words.append(f"step {self.step}")
        if self.detail:
            words.append(self.detail)
        elif self.units > 1:
            words.append(f"{self.unit} {min(self.calls + 1, self.units)} of {self.units}")
        elif self.total and not self.units:
            words.append(f"{100 * self.done / self.total:.0f} %")
        return ", ".join(words)

    def line(self) -> None:
        """A line of the log, where the last one is long enough ago."""
        now = time.monotonic()
        # What goes on inside the last stage has lines of its own.
        if now - self._told < SECONDS_BETWEEN_LINES or self.last or (self.total and self.done >= self.total):
            return
        self._told = now
        work = _work.get()
        words = work.words() if work is not None else _joined([self])
        log.info(
            "%s%s", words, "" if self.left_s is None else f", about {duration(self.left_s)} left", extra=ON_DISPLAY
        )


class Work:
    """The stages that a run is in, the outermost first."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.said: set[str] = set()
        self.began = time.time()

    def words(self) -> str:
        """The stages in words."""
        return _joined(list(self.stages))

    def report(self) -> Progress:
        """The progress of the run; may be asked for by another thread."""
        stages, now = list(self.stages), time.time()
        if not stages:
            return Progress("", "beginning", None, None, None, None, None, self.began, now)
        outer, inner = stages[0], stages[-1]
        left_s = inner.left_s
        run_left_s = outer.left_s if outer.last else None
        if run_left_s is not None:
            run_left_s = max(run_left_s, left_s or 0.0)
        spent_s = max(now - self.began, 1e-9)
        return Progress(
            inner.name,
            _joined(stages),
            inner.fraction,
            left_s,
            None if run_left_s is None else spent_s / (spent_s + run_left_s),
            run_left_s,
            None if inner.detail_text or inner.last else inner.since,
            self.began,
            now,
        )


def _joined(stages: list[Stage]) -> str:
    if not stages:
        return "beginning"
    inner = stages[-1]
    outer = ", ".join(stage.name for stage in stages[:-1])
    if not outer:
        return ": ".join(filter(None, [inner.name, inner.detail_text]))
    return f"{outer}: {', '.join(filter(None, [inner.name, inner.detail_text]))}"


_work: ContextVar[Work | None] = ContextVar("work", default=None)


@contextmanager
def watched() -> Iterator[Work]:
    """The stages of the block are those of one run, which this gives to look at."""
    work = Work()
    before = _work.set(work)
    try:
        yield work
    finally:
        _work.reset(before)


def is_watched() -> bool:
    """Whether a run watches; without, what only `report` would tell need not be computed."""
    return _work.get() is not None


def log_once(line: str) -> None:
    """Log a line, but only once in a run; each time where no run watches."""
    work = _work.get()
    if work is None or line not in work.said:
        log.info("%s", line)
    if work is not None:
        work.said.add(line)


@contextmanager
def stage(
    name: str, total: float | None = None, *, unit: str = "", units: int = 0, last: bool = False
) -> Iterator[Stage]:
    """The block is a stage of the run, if one watches."""
    entered = Stage(name, total, unit=unit, units=units, last=last)
    work = _work.get()
    if work is None:
        yield entered
        return
    work.stages.append(entered)
    try:
        yield entered
    finally:
        work.stages.remove(entered)


def report(detail: str | None = None, *, step: int | None = None, gap: float | None = None) -> None:
    """Say how far the innermost stage is: a solver's step, relative gap, or what it does. Costs nothing unwatched."""
    work = _work.get()
    if work is None or not work.stages:
        return
    inner = work.stages[-1]
    if detail is not None:
        inner.detail, inner.step, inner.gap = detail, None, None
    if step is not None:
        inner.step = step
    if gap is not None:
        inner.gap = gap
    inner.line()


@contextmanager
def progress(description: str, total: float, *, unit: str = "", units: int = 0) -> Iterator[Advance]:
    """Show progress towards `total` while the block runs; it is given a function to call with each amount done."""
    from afterkernel.progress.display import ProgressRow, ProgressView, display

    with stage(description, total, unit=unit, units=units) as entered:
        if is_watched():
            yield entered.advance
            return

        def view() -> ProgressView:
            left_s = entered.left_s
            left = "" if left_s is None else f"{duration(left_s)} left"
            return ProgressView([ProgressRow(description, entered.detail_text, entered.fraction, left)])

        with display(view):
            yield entered.advance
