"""The progress of a process: nested stages of work.

    with progress("Gram matrix", total) as advance: advance(amount)         work whose amount is known
    with Stage("SVM exact"): report(step=3, gap=1e-7)                        work whose amount is not

Within `watched` the stages belong to one run, whose `Progress` can be read at any time (`runs.progress_file` writes it
to a file). Elsewhere a stage costs next to nothing, and only `progress` shows a bar on a terminal. A stage that is
updated also logs a line, at most every `SECONDS_BETWEEN_LINES`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from afterkernel.text import duration

log = logging.getLogger(__name__)

Advance = Callable[[float], None]
SECONDS_BETWEEN_LINES = 15.0

# Marks a line of the log whose content a display on the terminal already shows.
ON_DISPLAY = {"on_display": True}


@dataclass(frozen=True)
class Progress:
    """The progress of a run. Times of day are in seconds since 1970, by the clock of the run's machine.

    `stage` is the innermost stage, `fraction` the part of it that is done and `left_s` its remaining time; None if
    unknown. `run_left_s` and `run_fraction` are those of the whole run. `words` names all stages and how far they
    are. `silent_since` is the start of an innermost stage that does not report how far it is.
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
    """One stage of work: how much of `total` is done, or only that it is running where that is None.

    As a context manager it is a stage of the run, if there is one, until the block ends.

    `unit` and `units` name and count the calls of `advance`, such as the tiles of a matrix. `last` marks the stage with
    which the run ends, so that its remaining time is that of the run. `total` is a bound if it is `at_most` done, and
    then says nothing about the time that remains.
    """

    def __init__(
        self,
        name: str,
        total: float | None = None,
        *,
        unit: str = "",
        units: int = 0,
        last: bool = False,
        at_most: bool = False,
    ) -> None:
        self.name, self.total, self.unit, self.units, self.last = name, total, unit, units, last
        self.at_most = at_most
        self.done = self.done_before = 0.0
        self.calls = 0
        self.detail = ""
        self.step: int | None = None
        self.gap: float | None = None
        self.since = time.time()
        self.began = self.updated = self._logged = time.monotonic()

    def __enter__(self) -> Stage:
        """Begin it within the present run."""
        self._of = _run.get()
        if self._of is not None:
            self._of.stages.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        if self._of is not None:
            self._of.stages.remove(self)

    def start_at(self, done: float) -> None:
        """Set what was done before this stage began; it does not count for the pace."""
        self.done = self.done_before = done
        self.began = self.updated = time.monotonic()

    def advance(self, amount: float = 1.0) -> None:
        """Add an amount to what is done."""
        self.calls += 1
        self.update(self.done + amount)

    def update(self, done: float, detail: str | None = None) -> None:
        """Set what is done by now; `detail` says in words what is being done."""
        self.done, self.updated = done, time.monotonic()
        if detail is not None:
            self.detail = detail
        self.log_line()

    @property
    def fraction(self) -> float | None:
        """The part that is done; None if unknown."""
        if self.at_most:
            return None
        return min(self.done / self.total, 1.0) if self.total else None

    @property
    def left_s(self) -> float | None:
        """The time that the rest will take at the pace so far; None before the first step, and if it may end early."""
        if self.at_most or not self.total or self.done <= self.done_before:
            return None
        pace = (self.updated - self.began) / (self.done - self.done_before)
        return max(pace * (self.total - self.done) - (time.monotonic() - self.updated), 0.0)

    @property
    def detail_text(self) -> str:
        """How far it is, in words; empty for the last stage, whose name says it, and one that reports nothing."""
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

    def log_line(self) -> None:
        """Log the stages, if the last line is long enough ago."""
        now = time.monotonic()
        # The stages inside the last one log their own lines.
        if now - self._logged < SECONDS_BETWEEN_LINES or self.last or (self.total and self.done >= self.total):
            return
        self._logged = now
        run = _run.get()
        words = _joined([self] if run is None else run.stages)
        left = "" if self.left_s is None else f", about {duration(self.left_s)} left"
        log.info("%s%s", words, left, extra=ON_DISPLAY)


class RunStages:
    """The stages that a run is in, the outermost first."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.logged: set[str] = set()
        self.began = time.time()

    def progress(self) -> Progress:
        """The progress of the run; may be called from another thread."""
        stages, now = list(self.stages), time.time()
        if not stages:
            return Progress("", _joined(stages), None, None, None, None, None, self.began, now)
        outer, inner = stages[0], stages[-1]
        left_s = inner.left_s
        run_left_s = outer.left_s if outer.last else None
        if run_left_s is not None:
            run_left_s = max(run_left_s, left_s or 0.0)
        spent_s = max(now - self.began, 1e-9)
        return Progress(
            stage=inner.name,
            words=_joined(stages),
            fraction=inner.fraction,
            left_s=left_s,
            run_fraction=None if run_left_s is None else spent_s / (spent_s + run_left_s),
            run_left_s=run_left_s,
            silent_since=None if inner.detail_text or inner.last else inner.since,
            began=self.began,
            written=now,
        )


def _joined(stages: Sequence[Stage]) -> str:
    """OUTER, OUTER: INNER, how far it is; or INNER: how far it is."""
    if not stages:
        return "starting"
    *outer, inner = stages
    heads, tails = [stage.name for stage in outer], [inner.name, inner.detail_text]
    if not outer:
        heads, tails = tails[:1], tails[1:]
    return ": ".join(filter(None, [", ".join(heads), ", ".join(filter(None, tails))]))


_run: ContextVar[RunStages | None] = ContextVar("run", default=None)


@contextmanager
def watched() -> Iterator[RunStages]:
    """The stages of the block are those of one run, which the block is given."""
    run = RunStages()
    token = _run.set(run)
    try:
        yield run
    finally:
        _run.reset(token)


def is_watched() -> bool:
    """Whether the stages belong to a run; elsewhere numbers that only `report` would use need not be computed."""
    return _run.get() is not None


def log_once(line: str) -> None:
    """Log a line, but only once in a run; each time outside a run."""
    run = _run.get()
    if run is None or line not in run.logged:
        log.info("%s", line)
    if run is not None:
        run.logged.add(line)


def report(detail: str | None = None, *, step: int | None = None, gap: float | None = None) -> None:
    """Report how far the innermost stage is: a solver's step, its relative gap, or what it does, as `detail`.

    A new detail clears step and gap. Outside a run this does nothing.
    """
    run = _run.get()
    if run is None or not run.stages:
        return
    inner = run.stages[-1]
    if detail is not None:
        inner.detail, inner.step, inner.gap = detail, None, None
    if step is not None:
        inner.step = step
    if gap is not None:
        inner.gap = gap
    inner.log_line()


@contextmanager
def progress(description: str, total: float, *, unit: str = "", units: int = 0) -> Iterator[Advance]:
    """Show progress towards `total` while the block runs; the block gets a function to call with each amount done."""
    from afterkernel.progress.display import ProgressRow, ProgressView, display

    with Stage(description, total, unit=unit, units=units) as entered:
        if is_watched():
            yield entered.advance
            return

        def view() -> ProgressView:
            left_s = entered.left_s
            left = "" if left_s is None else f"{duration(left_s)} left"
            return ProgressView([ProgressRow(description, entered.detail_text, entered.fraction, left)])

        with display(view):
            yield entered.advance
