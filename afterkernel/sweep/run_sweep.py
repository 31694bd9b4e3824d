"""Runs a sweep: skips finished runs, reports each outcome as it comes, and lists the failures at the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from afterkernel.errors import UserError
from afterkernel.launchers.job import Job, Outcome
from afterkernel.launchers.launcher import Launcher
from afterkernel.progress.display import is_shown, print_above
from afterkernel.runs.failure import write_failure
from afterkernel.runs.worker import execute
from afterkernel.sweep.grid import PlannedRun, finished, recorded, save_grid
from afterkernel.sweep.progress import SweepProgress
from afterkernel.text import duration
from afterkernel.training.snapshot import read_summary

FAILED = 1


class SweepEvents:
    """Prints outcomes as they arrive; `streams_output` if the output of the runs appears on this terminal."""

    def __init__(self, progress: SweepProgress, on_error: str, *, streams_output: bool) -> None:
        self.progress, self.on_error, self.streams_output = progress, on_error, streams_output

    def on_start(self, job: Job) -> None:
        """Record that a run has started."""
        self.progress.on_start(job)

    def on_finish(self, outcome: Outcome) -> bool:
        """Print one outcome; returns whether further jobs may start."""
        self.progress.on_finish(outcome)
        at = f"[{self.progress.before + len(self.progress.outcomes)}/{self.progress.total}]"
        if outcome.state == "failed":
            write_failure(Path(outcome.log).parent, outcome.message)
            print_above(f"{at} FAILED {outcome.run_id}: {outcome.message} (log: {outcome.log})", "err")
        else:
            lines = {
                "finished": f"finished {outcome.run_id} in {duration(outcome.wall_s)}{self._left()}",
                "skipped": f"{outcome.run_id} is finished already",
                "locked": f"{outcome.run_id} is left to another process: {outcome.message}",
                "interrupted": f"{outcome.run_id} was interrupted",
            }
            print_above(f"{at} {lines[outcome.state]}")
        if is_shown() or not self.streams_output:
            for warning in outcome.warnings:
                print_above(f"  warning: {warning} (log: {outcome.log})", "err")
        return outcome.state != "failed" or self.on_error == "continue"

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
    runs = f"{len(planned_runs)} runs{before}, {len(jobs)} to do"
    print(f"sweep {sweep.name}: {runs} (launcher={launcher.name})", flush=True)
    progress = SweepProgress(sweep.name, len(planned_runs), len(done | in_file))
    try:
        if jobs:
            with progress.shown(streams_output=launcher.streams_output):
                launcher.launch(jobs, SweepEvents(progress, on_error, streams_output=launcher.streams_output), execute)
    finally:
        _summary(progress, len(jobs), planned_runs)
    return FAILED if progress.of("failed") else 0


def _summary(progress: SweepProgress, wanted: int, planned_runs: Sequence[PlannedRun]) -> None:
    failed, elsewhere, good = progress.of("failed"), progress.of("locked"), progress.done
    parts = [f"{good} of {progress.total} runs finished"]
    if diverged := [planned.job.run_id for planned in planned_runs if _diverged(planned)]:
        parts[0] += f" ({len(diverged)} diverged)"
    if failed:
        parts.append(f"{len(failed)} failed")
    if elsewhere:
        parts.append(f"{len(elsewhere)} left to other processes")
    if left := wanted - len(progress.outcomes) + len(progress.of("interrupted")):
        parts.append(f"{left} to go")
    print(", ".join(parts) + ("; run the same command again to continue" if good < progress.total else ""), flush=True)
    for run_id in diverged:
        print(f"  diverged: {run_id}: it is recorded up to its last snapshot before", file=sys.stderr, flush=True)
    for outcome in failed:
        print(f"  failed: {outcome.run_id}: {outcome.message}\n    log: {outcome.log}", file=sys.stderr, flush=True)


def _diverged(planned: PlannedRun) -> bool:
    with suppress(UserError):  # the run itself reports a damaged summary
        summary = read_summary(planned.run_dir)
        return summary is not None and summary.stopped_by == "diverged"
    return False
