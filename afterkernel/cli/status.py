"""status DIR: progress of each run and time remaining."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from afterkernel import text as fmt
from afterkernel.cli import RESULTS, CommandParser, folder_argument
from afterkernel.launchers.job import LOG
from afterkernel.records.store import read_runs
from afterkernel.runs.disk import describe_use, disk_use
from afterkernel.runs.failure import read_failure
from afterkernel.runs.planned import planned
from afterkernel.runs.progress_file import read_progress
from afterkernel.runs.run_lock import owner_of
from afterkernel.runs.status import RunStatus, status
from afterkernel.sweep.progress import describe_progress, run_timing
from afterkernel.sweep.time_remaining import TimeRemaining, mean_run_s, time_left
from afterkernel.text import print_table

GROUP = RESULTS

StatusName = Literal["done", "recorded", "running", "failed", "damaged", "interrupted", "to go"]


def state_of(run: RunStatus, whole_s: float | None = None) -> tuple[StatusName, str]:
    """The state of a run, and a detail: its progress, why it failed, what is missing or damaged.

    `whole_s` is the time of such a run, if known.
    """
    owner = owner_of(run.run_dir)
    if owner is not None:
        report = read_progress(run.run_dir)
        word = last_line(run.run_dir) if report is None else describe_progress(report)
        left = run_timing(report, time.time() - owner.since).left(whole_s)
        return "running", f"{word}{'' if left is None else f', {left}'} ({owner})"
    if run.done and run.ended is not False:
        if run.training_end == "diverged":
            return "done", f"diverged after epoch {fmt.epochs(run.recorded[-1])}, its last snapshot"
        return "done", ""
    if run.damaged is not None:
        return "damaged", run.damaged
    if run.ended is False:
        return "recorded", f"up to step {run.recorded[-1]}; its end is not recorded"
    failure = read_failure(run.run_dir)
    if failure is not None:
        return "failed", failure
    missing = f"missing epochs {', '.join(map(fmt.epochs, run.missing))}" if run.missing else ""
    return "interrupted", missing


def sweep_left(runs: Sequence[RunStatus], to_go: int) -> TimeRemaining | None:
    """The time left for running and remaining runs, with as many at once as now; None if unknown."""
    running = [
        run_timing(read_progress(run.run_dir), time.time() - owner.since)
        for run in runs
        if (owner := owner_of(run.run_dir)) is not None
    ]
    return time_left(_finished_s(runs), running, to_go) if running else None


def _finished_s(runs: Sequence[RunStatus]) -> list[float]:
    return [run.wall_s for run in runs if run.done and run.wall_s is not None]


def last_line(run_dir: Path) -> str:
    """The last line of a run's log, without its time."""
    try:
        with (run_dir / LOG).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 4096))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return "beginning"
    return lines[-1].partition(" ")[2].strip() if lines else "beginning"


def main(argv: Sequence[str]) -> int:
    """`status DIR`: one line per run, also for damaged ones. UserError if there are no runs."""
    parser = CommandParser("status", "Show the progress of each run and the time remaining.", "status runs/demo")
    parser.add_argument(
        "directory", type=folder_argument, metavar="DIR", help="a run, a sweep, or the folder of all sweeps"
    )
    directory = parser.parse_args(argv).directory
    to_come = planned(directory) if directory.is_dir() else {}
    runs = status(directory, read_runs(directory), may_be_none=bool(to_come))
    rows, counts, size = [], dict.fromkeys(get_args(StatusName), 0), Counter[str]()
    whole_s = mean_run_s(_finished_s(runs), [])
    several = len({run_dir.parent for run_dir in (*to_come, *(run.run_dir for run in runs))}) > 1

    def name(run_dir: Path, run_id: str) -> str:
        return run_dir.relative_to(directory).as_posix() if several else run_id

    for run in runs:
        state, word = state_of(run, whole_s)
        used = disk_use(run.run_dir)
        size += used
        counts[state] += 1
        snapshots = f"{len(run.recorded)}/{'?' if run.wanted is None else len(run.wanted)}"
        rate, seed = fmt.general(run.learning_rate), fmt.MISSING if run.seed is None else str(run.seed)
        cells = [name(run.run_dir, run.run_id), run.arch or fmt.MISSING, rate, seed, snapshots, state]
        rows.append([*cells, fmt.size(used.total()), word])
    for run_dir in sorted(to_come.keys() - {run.run_dir for run in runs}):
        counts["to go"] += 1
        rows.append([name(run_dir, run_dir.name), "", "", "", "", "to go", "", " ".join(to_come[run_dir])])
    print_table(["run", "arch", "lr", "seed", "snapshots", "state", "disk", ""], rows)
    print(f"on disk {describe_use(size)}")
    others = "".join(f", {count} {state}" for state, count in counts.items() if count and state != "done")
    left = sweep_left(runs, counts["to go"] + counts["interrupted"])
    print(f"{counts['done']} of {fmt.plural(len(rows), 'run')} done{others}{'' if left is None else f', {left}'}")
    return 0
