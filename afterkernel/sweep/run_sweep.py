"""Runs a sweep: skips finished runs, reports each outcome as it comes, and lists the failures at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from afterkernel.errors import UserError
from afterkernel.exit_codes import ExitCode
from afterkernel.launchers.job import Job, Outcome
from afterkernel.launchers.launcher import Launcher
from afterkernel.progress.display import print_above
from afterkernel.runs.failure import write_failure
from afterkernel.runs.worker import execute
from afterkernel.sweep.grid import PlannedRun, finished, recorded, save_grid
from afterkernel.sweep.outcome_line import describe_numbers, describe_options
from afterkernel.sweep.progress import SweepProgress
from afterkernel.text import duration, plural
from afterkernel.training.snapshot import read_summary


class SweepEvents:
    """Prints one line per outcome as it arrives, and each warning of the runs once."""

    def __init__(self, progress: SweepProgress, planned_runs: Sequence[PlannedRun], on_error: str) -> None:
        self.progress, self.on_error = progress, on_error
        self.repeated: Counter[str] = Counter()
        self._planned = {planned.job.run_id: planned for planned in planned_runs}
        self._options = describe_options({planned.job.run_id: planned.varied for planned in planned_runs})

    def on_start(self, job: Job) -> None:
        """Record that a run has started."""
        self.progress.on_start(job)

    def on_finish(self, outcome: Outcome) -> bool:
        """Print one outcome; returns whether further jobs may start."""
        self.progress.on_finish(outcome)
        at = f"[{self.progress.before + len(self.progress.outcomes)}/{self.progress.total}]"
        name = self._options[outcome.run_id]
        if outcome.state == "failed":
            write_failure(Path(outcome.log).parent, outcome.message)
            self.progress.print_line(f"{at} FAILED {outcome.run_id}: {outcome.message} (log: {outcome.log})", "err")
        else:
            lines = {
                "finished": f"{name}: {self._numbers(outcome)}{duration(outcome.wall_s)}{self._left()}",
                "skipped": f"{name}: finished already",
                "locked": f"{name}: left to another process: {outcome.message}",
                "interrupted": f"{name}: interrupted",
            }
            self.progress.print_line(f"{at} {lines[outcome.state]}")
        for warning in outcome.warnings:
            self.repeated[warning] += 1
            if self.repeated[warning] == 1:
                self.progress.print_line(f"  warning: {warning} (log: {outcome.log})", "err")
        return outcome.state != "failed" or self.on_error == "continue"

    def _numbers(self, outcome: Outcome) -> str:
        planned = self._planned[outcome.run_id]
        numbers = describe_numbers(planned.run_dir, outcome.run_id, planned.config.identity.evaluation_id)
        return f"{numbers}, " if numbers else ""

    def _left(self) -> str:
        left = self.progress.left() if self.progress.running or self.progress.to_go else None
        return "" if left is None else f"; {left}"


def run_sweep(planned_runs: Sequence[PlannedRun], launcher: Launcher, on_error: str) -> int:
    """Run what is not finished; returns 0 if nothing failed. Ctrl-C prints how to continue and is raised again."""
    done = finished(planned_runs)
    in_file = recorded(planned_runs) - done
    jobs = [planned.job for planned in planned_runs if planned.run_dir not in done | in_file]
    save_grid([planned for planned in planned_runs if planned.run_dir not in in_file])
    sweep = planned_runs[0].config.sweep
    before = f", {len(done)} finished before" if done else ""
    if in_file:
        before += f", {len(in_file)} recorded in {sweep.recorded}"
    runs = f"{plural(len(planned_runs), 'run')}{before}, {len(jobs)} to do"
    print_above(f"sweep {sweep.name}: {runs}; {launcher.describe(len(jobs))}")
    progress = SweepProgress(sweep.name, len(planned_runs), len(done | in_file))
    events = SweepEvents(progress, planned_runs, on_error)
    try:
        if jobs:
            with progress.shown():
                launcher.launch(jobs, events, execute)
    finally:
        _summary(events, len(jobs), planned_runs)
    return ExitCode.FAILED if progress.of("failed") else ExitCode.DONE


def _summary(events: SweepEvents, wanted: int, planned_runs: Sequence[PlannedRun]) -> None:
    progress = events.progress
    failed, elsewhere, good = progress.of("failed"), progress.of("locked"), progress.done
    parts = [f"{good} of {plural(progress.total, 'run')} finished"]
    if diverged := [planned.job.run_id for planned in planned_runs if _diverged(planned)]:
        parts[0] += f" ({len(diverged)} diverged)"
    if failed:
        parts.append(f"{len(failed)} failed")
    if elsewhere:
        parts.append(f"{len(elsewhere)} left to other processes")
    if left := wanted - len(progress.outcomes) + len(progress.of("interrupted")):
        parts.append(f"{left} to go")
    print_above(", ".join(parts) + ("; run the same command again to continue" if good < progress.total else ""))
    for warning, count in events.repeated.items():
        if count > 1:
            print_above(f"  in {count} runs: warning: {warning}", "err")
    for run_id in diverged:
        print_above(f"  diverged: {run_id}: it is recorded up to its last snapshot before", "err")
    for outcome in failed:
        print_above(f"  failed: {outcome.run_id}: {outcome.message}\n    log: {outcome.log}", "err")


def _diverged(planned: PlannedRun) -> bool:
    with suppress(UserError):  # the run itself reports a damaged summary
        summary = read_summary(planned.run_dir)
        return summary is not None and summary.stopped_by == "diverged"
    return False
