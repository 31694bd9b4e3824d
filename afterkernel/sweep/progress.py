"""The progress of a sweep: outcomes of its runs, the runs in progress and their stages, the time remaining."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from afterkernel.launchers.job import Job, Outcome
from afterkernel.progress.display import ProgressRow, ProgressView, Where, display, print_above
from afterkernel.progress.work import Progress
from afterkernel.runs.progress_file import read_progress
from afterkernel.runs.run_lock import owner_of
from afterkernel.sweep.time_remaining import RunTiming, TimeRemaining, mean_run_s, run_rate, time_left
from afterkernel.text import duration

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_LINES = 60.0
SILENT_S = 3.0  # after which a stage that reports no progress is shown as running
LOOKS_AT_ONCE = 40  # files read a second at most, however many runs are in progress


class RunProgress:
    """A run in progress, and its last reported progress."""

    def __init__(self, run_id: str, run_dir: Path, begun_s: float) -> None:
        self.run_id, self.run_dir, self.begun_s = run_id, run_dir, begun_s
        self.report: Progress | None = None

    def refresh(self) -> None:
        """Read its progress, which is valid while a process holds the lock of the run."""
        self.report = current_progress(self.run_dir)

    def run_timing(self, now_s: float) -> RunTiming:
        """Its time so far and the time left, as far as known."""
        return run_timing(self.report, now_s - self.begun_s)

    def row(self, whole_s: float | None, now_s: float) -> ProgressRow:
        """Its row of the display: for the whole run if known, else for its present stage."""
        if self.report is None and now_s - self.begun_s >= SILENT_S:
            words = f"starting a process, which loads packages: {duration(now_s - self.begun_s)}"
            return ProgressRow(self.run_id, words, None, "")
        left, fraction = self.run_timing(now_s).left(whole_s), self.fraction(whole_s, now_s)
        if fraction is None and self.report is not None:
            fraction = self.report.fraction
        return ProgressRow(self.run_id, describe_progress(self.report), fraction, "" if left is None else str(left))

    def fraction(self, whole_s: float | None, now_s: float) -> float | None:
        """The part of the run that is done; None if its end is not known."""
        known = self.run_timing(now_s)
        left = known.left(whole_s)
        return None if left is None or left.more else known.spent_s / max(known.spent_s + left.wall_s, 1e-9)


class SweepProgress:
    """The runs of a sweep: `total` of them, `before` finished before; `clock` gives seconds."""

    def __init__(self, name: str, total: int, before: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.total, self.before, self.clock = name, total, before, clock
        self.outcomes: list[Outcome] = []
        self.running: dict[str, RunProgress] = {}
        self._most = 0
        self._looked_s = float("-inf")
        self._began_s = clock()
        self._printed_s = clock()
        self._next = 0

    def on_start(self, job: Job) -> None:
        """Record that a run has started."""
        self.running.setdefault(job.run_id, RunProgress(job.run_id, Path(job.run_dir), self.clock()))
        self._most = max(self._most, len(self.running))

    def on_finish(self, outcome: Outcome) -> None:
        """Record that a run has ended."""
        self.running.pop(outcome.run_id, None)
        self.outcomes.append(outcome)

    def of(self, state: str) -> list[Outcome]:
        """The outcomes in one state."""
        return [outcome for outcome in self.outcomes if outcome.state == state]

    @property
    def done(self) -> int:
        """How many runs are finished."""
        return self.before + len(self.of("finished")) + len(self.of("skipped"))

    @property
    def to_go(self) -> int:
        """How many runs have not begun."""
        return max(self.total - self.before - len(self.outcomes) - len(self.running), 0)

    def left(self) -> TimeRemaining | None:
        """The time that the sweep will still take, from the last progress of its runs."""
        now_s, running = self.clock(), list(self.running.values())
        known = [run.run_timing(now_s) for run in running]
        return time_left(self._finished_s(), known, self.to_go, self._at_once)

    def summary(self) -> str:
        """Counts and time left."""
        failed, elsewhere = len(self.of("failed")), len(self.of("locked"))
        parts = [f"{self.done} of {self.total} done"]
        parts += [f"{failed} failed"] if failed else []
        parts += [f"{elsewhere} left to other processes"] if elsewhere else []
        parts += [f"{len(self.running)} running"] if self.running else []
        parts += [f"{self.to_go} to go"] if self.to_go else []
        if self.running or self.to_go:
            parts += self._pace()
        return ", ".join(parts)

    def _pace(self) -> list[str]:
        """Runs per hour and the time left, as far as known."""
        now_s, left = self.clock(), self.left()
        whole_s = mean_run_s(self._finished_s(), [run.run_timing(now_s) for run in self.running.values()])
        rate = [run_rate(self._at_once, whole_s)] if whole_s and self._at_once else []
        unknown = [] if self.clock() - self._began_s < SILENT_S else ["time left unknown until the first run ends"]
        return [*rate, *([str(left)] if left is not None else unknown)]

    @property
    def _at_once(self) -> int:
        """How many runs will run at a time."""
        return min(self._most, len(self.running) + self.to_go)

    def refresh(self) -> None:
        """Read the progress of running jobs, at most once per second, and in turn if they are many."""
        now_s = self.clock()
        if now_s - self._looked_s < SECONDS_BETWEEN_LOOKS:
            return
        self._looked_s = now_s
        running = list(self.running.values())
        self._next = self._next % max(len(running), 1)
        turn = [*running[self._next :], *running[: self._next]][:LOOKS_AT_ONCE]
        for run in turn:
            run.refresh()
        self._next += len(turn)

    def view(self) -> ProgressView:
        """The display of this moment."""
        self.refresh()
        now_s, running = self.clock(), list(self.running.values())
        whole_s = mean_run_s(self._finished_s(), [run.run_timing(now_s) for run in running])
        rows = [run.row(whole_s, now_s) for run in running]
        ended = self.before + len(self.outcomes)
        parts = sum(run.fraction(whole_s, now_s) or 0.0 for run in running)
        return ProgressView(rows, f"sweep {self.name}: {self.summary()}", (ended + parts) / max(self.total, 1))

    def print_line(self, line: str, where: Where = "out") -> None:
        """Print a line above the display, or where its stream goes."""
        self._printed_s = self.clock()
        print_above(line, where)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the progress on a terminal during the block; elsewhere print it after a minute without a line."""
        with display(self.view) as on_terminal:
            if on_terminal:
                yield
                return
            ended = threading.Event()
            thread = threading.Thread(target=self._lines, args=(ended,), name="lines", daemon=True)
            thread.start()
            try:
                yield
            finally:
                ended.set()
                thread.join()

    def _lines(self, ended: threading.Event) -> None:
        while not ended.wait(max(self._printed_s + SECONDS_BETWEEN_LINES - self.clock(), 0.01)):
            if self.clock() - self._printed_s >= SECONDS_BETWEEN_LINES:
                self.refresh()
                self.print_line(self.summary())

    def _finished_s(self) -> Sequence[float]:
        return [outcome.wall_s for outcome in self.of("finished")]


@contextmanager
def display_run(run_id: str, run_dir: Path) -> Iterator[None]:
    """Show the progress of a single run on a terminal while the block runs."""
    run = RunProgress(run_id, run_dir, time.monotonic())

    def view() -> ProgressView:
        run.refresh()
        return ProgressView([run.row(None, time.monotonic())])

    with display(view):
        yield


def current_progress(run_dir: Path) -> Progress | None:
    """The progress of a running run; None if no process works on it, or it has not reported yet."""
    report = read_progress(run_dir)
    return report if report is not None and owner_of(run_dir) is not None else None


def run_timing(report: Progress | None, spent_s: float) -> RunTiming:
    """The timing of a run, from its last progress and how long ago that was."""
    if report is None:
        return RunTiming(spent_s, None, None)
    age_s = max(time.time() - report.written, 0.0)
    run_left_s, stage_left_s = (
        None if left_s is None else max(left_s - age_s, 0.0) for left_s in (report.run_left_s, report.left_s)
    )
    return RunTiming(spent_s, run_left_s, stage_left_s)


def describe_progress(report: Progress | None) -> str:
    """The progress of a run in words; for a stage that reports none, for how long it has been running."""
    if report is None:
        return "starting"
    silent_s = 0.0 if report.silent_since is None else time.time() - report.silent_since
    return report.words if silent_s < SILENT_S else f"{report.words}, running, {duration(silent_s)}"
