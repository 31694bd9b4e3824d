"""A sweep as it runs: what is finished is left alone, each outcome is told as it comes, failures again at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from afterkernel.sweep.failure import write_failure
from afterkernel.sweep.grid import Entry, finished, keep_grid
from afterkernel.sweep.job import Outcome
from afterkernel.sweep.launchers.launcher import Launcher

FAILED = 1


class Teller:
    """Tells outcomes as they come, keeps them, and answers whether the sweep goes on."""

    def __init__(self, total: int, before: int, on_error: str) -> None:
        self.total, self.before, self.on_error = total, before, on_error
        self.outcomes: list[Outcome] = []
        self._started = time.monotonic()

    def __call__(self, outcome: Outcome) -> bool:
        """Tell one outcome; False once no further job is to begin."""
        self.outcomes.append(outcome)
        at = f"[{self.before + len(self.outcomes)}/{self.total}]"
        if outcome.state == "failed":
            write_failure(Path(outcome.log).parent, outcome.sentence)
            print(f"{at} FAILED {outcome.run_id}: {outcome.sentence} (log: {outcome.log})", file=sys.stderr, flush=True)
            return self.on_error == "continue"
        told = {
            "finished": f"finished {outcome.run_id} in {duration(outcome.wall_s)}{self._left()}",
            "already": f"{outcome.run_id} is finished already",
            "elsewhere": f"{outcome.run_id} is left to another process: {outcome.sentence}",
            "interrupted": f"{outcome.run_id} was interrupted",
        }
        print(f"{at} {told[outcome.state]}", flush=True)
        return True

    def _left(self) -> str:
        left = self.total - self.before - len(self.outcomes)
        if not left:
            return ""
        spent = time.monotonic() - self._started
        return f"; about {duration(spent / len(self.outcomes) * left)} left"

    def of(self, state: str) -> list[Outcome]:
        """The outcomes in one state."""
        return [outcome for outcome in self.outcomes if outcome.state == state]


def conduct(entries: Sequence[Entry], launcher: Launcher, on_error: str) -> int:
    """Run what is not finished; the exit code: 0 if nothing failed. Ctrl-C passes on, with a word of how to go on."""
    done = finished(entries)
    jobs = [entry.job for entry in entries if entry.run_dir not in done]
    keep_grid(entries)
    name = entries[0].config.sweep.name
    before = f", {len(done)} finished before" if done else ""
    print(f"sweep {name}: {len(entries)} runs{before}, {len(jobs)} to do (launcher={launcher.name})", flush=True)
    teller = Teller(len(entries), len(done), on_error)
    try:
        if jobs:
            launcher.launch(jobs, teller)
    finally:
        _summary(teller, len(jobs))
    return FAILED if teller.of("failed") else 0


def _summary(teller: Teller, wanted: int) -> None:
    failed, elsewhere = teller.of("failed"), teller.of("elsewhere")
    good = teller.before + len(teller.of("finished")) + len(teller.of("already"))
    parts = [f"{good} of {teller.total} runs finished"]
    if failed:
        parts.append(f"{len(failed)} failed")
    if elsewhere:
        parts.append(f"{len(elsewhere)} left to other processes")
    if left := wanted - len(teller.outcomes) + len(teller.of("interrupted")):
        parts.append(f"{left} to go")
    print(", ".join(parts) + ("; give the same command again to go on" if good < teller.total else ""), flush=True)
    for outcome in failed:
        print(f"  failed: {outcome.run_id}: {outcome.sentence}\n    log: {outcome.log}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds in words of two units at most."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
