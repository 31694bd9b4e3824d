"""`status DIR`: how far each run is, from what lies on disk: also of runs in progress, failed, or to come."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from afterkernel.store import format as fmt
from afterkernel.store import status
from afterkernel.store.disk import DiskUse, disk_use
from afterkernel.store.status import RunStatus
from afterkernel.sweep.claim import holder_of
from afterkernel.sweep.failure import read_failure
from afterkernel.sweep.job import LOG
from afterkernel.sweep.planned import planned
from afterkernel.text_table import print_table

State = Literal["done", "running", "failed", "cut off", "to go"]


def state_of(run: RunStatus) -> tuple[State, str]:
    """What a run is at this moment, and a word on it: what it does, why it failed, what is missing."""
    holder = holder_of(run.run_dir)
    if holder is not None:
        return "running", f"{last_line(run.run_dir)} ({holder})"
    if run.done:
        return "done", ""
    failure = read_failure(run.run_dir)
    if failure is not None:
        return "failed", failure
    missing = f"missing epochs {', '.join(map(str, run.missing))}" if run.missing else ""
    return "cut off", missing


def last_line(run_dir: Path) -> str:
    """What the log of a run says last, without its time."""
    try:
        with (run_dir / LOG).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 4096))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return "beginning"
    return lines[-1].partition(" ")[2].strip() if lines else "beginning"


def main(argv: Sequence[str]) -> int:
    """`status DIR`: one line a run. UserError where there are no runs, or a file of theirs can't be read."""
    parser = argparse.ArgumentParser("python -m afterkernel status", description="Say how far each run is.")
    parser.add_argument("directory", type=Path, help="a run, a sweep, or the folder of all sweeps")
    directory = parser.parse_args(argv).directory
    to_come = planned(directory) if directory.is_dir() else {}
    # A sweep of which nothing has begun has no runs to ask about; what can't be read is told.
    runs = [] if to_come and not any(run_dir.exists() for run_dir in to_come) else status(directory)
    rows, counts, size = [], dict.fromkeys(("done", "running", "failed", "cut off", "to go"), 0), DiskUse()
    for run in runs:
        state, word = state_of(run)
        used = disk_use(run.run_dir)
        size += used
        counts[state] += 1
        snapshots = f"{len(run.recorded)}/{'?' if run.wanted is None else len(run.wanted)}"
        rate, seed = fmt.general(run.learning_rate), fmt.MISSING if run.seed is None else str(run.seed)
        rows.append([run.run_id, run.arch or fmt.MISSING, rate, seed, snapshots, state, fmt.size(used.total), word])
    for run_dir in sorted(to_come.keys() - {run.run_dir for run in runs}):
        counts["to go"] += 1
        rows.append([run_dir.name, "", "", "", "", "to go", "", " ".join(to_come[run_dir])])
    print_table(["run", "arch", "lr", "seed", "snapshots", "state", "disk", ""], rows)
    others = "".join(f", {count} {state}" for state, count in counts.items() if count and state != "done")
    print(f"{counts['done']} of {fmt.plural(len(rows), 'run')} done{others}")
    print(f"on disk {size.describe()}")
    return 0
