"""Runs a sweep: skips finished runs, reports each outcome as it comes, and lists the failures at the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from afterkernel.display import is_shown, say
from afterkernel.duration import duration
from afterkernel.sweep.failure import write_failure
from afterkernel.sweep.grid import Entry, finished, keep_grid
from afterkernel.sweep.job import Job, Outcome
from afterkernel.sweep.launchers.launcher import Launcher
from afterkernel.sweep.tally import Tally

FAILED = 1


class Teller:
    """Tells outcomes as they come, and answers whether the sweep goes on; `speaking`: the runs' own lines show here."""

    def __init__(self, tally: Tally, on_error: str, *, speaking: bool) -> None:
        self.tally, self.on_error, self.speaking = tally, on_error, speaking

    def begun(self, job: Job) -> None:
        """A run has begun."""
        self.tally.begun(job)

    def __call__(self, outcome: Outcome) -> bool:
        """Tell one outcome; False once no further job is to begin."""
        self.tally.ended(outcome)
        at = f"[{self.tally.before + len(self.tally.outcomes)}/{self.tally.total}]"
        if outcome.state == "failed":
            write_failure(Path(outcome.log).parent, outcome.sentence)
            say(f"{at} FAILED {outcome.run_id}: {outcome.sentence} (log: {outcome.log})", "err")
        else:
            told = {
                "finished": f"finished {outcome.run_id} in {duration(outcome.wall_s)}{self._left()}",
                "already": f"{outcome.run_id} is finished already",
                "elsewhere": f"{outcome.run_id} is left to another process: {outcome.sentence}",
                "interrupted": f"{outcome.run_id} was interrupted",
            }
            say(f"{at} {told[outcome.state]}")
        if is_shown() or not self.speaking:
            for warning in outcome.warnings:
                say(f"  warning: {warning} (log: {outcome.log})", "err")
        return outcome.state != "failed" or self.on_error == "continue"

    def _left(self) -> str:
        left = self.tally.left() if self.tally.running or self.tally.to_go else None
        return "" if left is None else f"; {left}"


def conduct(entries: Sequence[Entry], launcher: Launcher, on_error: str) -> int:
    """Run what is not finished; the exit code: 0 if nothing failed. Ctrl-C passes on, with a word of how to go on."""
    done = finished(entries)
    jobs = [entry.job for entry in entries if entry.run_dir not in done]
    keep_grid(entries)
    name = entries[0].config.sweep.name
    before = f", {len(done)} finished before" if done else ""
    print(f"sweep {name}: {len(entries)} runs{before}, {len(jobs)} to do (launcher={launcher.name})", flush=True)
    tally = Tally(name, len(entries), len(done))
    try:
        if jobs:
            with tally.shown(speaking=launcher.speaking):
                launcher.launch(jobs, Teller(tally, on_error, speaking=launcher.speaking))
    finally:
        _summary(tally, len(jobs))
    return FAILED if tally.of("failed") else 0


def _summary(tally: Tally, wanted: int) -> None:
    failed, elsewhere, good = tally.of("failed"), tally.of("elsewhere"), tally.done
    parts = [f"{good} of {tally.total} runs finished"]
    if failed:
        parts.append(f"{len(failed)} failed")
    if elsewhere:
        parts.append(f"{len(elsewhere)} left to other processes")
    if left := wanted - len(tally.outcomes) + len(tally.of("interrupted")):
        parts.append(f"{left} to go")
    print(", ".join(parts) + ("; give the same command again to go on" if good < tally.total else ""), flush=True)
    for outcome in failed:
        print(f"  failed: {outcome.run_id}: {outcome.sentence}\n    log: {outcome.log}", file=sys.stderr, flush=True)
