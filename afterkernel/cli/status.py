"""status DIR: progress of each run and time remaining."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from afterkernel import text as fmt
from afterkernel.cli import PROGRAM, RESULTS, CommandParser, folder_argument
from afterkernel.cli.clean import removable_below
from afterkernel.exit_codes import ExitCode
from afterkernel.launchers.job import LOG
from afterkernel.progress.display import ProgressRow, ProgressView, display, print_above
from afterkernel.records.store import RunFolder, read_runs
from afterkernel.runs.disk import describe_use, disk_use, use_outside_runs
from afterkernel.runs.failure import read_failure
from afterkernel.runs.planned import parts_of_run_id, planned
from afterkernel.runs.progress_file import read_progress
from afterkernel.runs.run_lock import owner_of
from afterkernel.runs.status import RunStatus, status
from afterkernel.sweep.progress import describe_progress, run_timing
from afterkernel.sweep.time_remaining import TimeRemaining, mean_run_s, run_rate, time_left
from afterkernel.text import print_table

GROUP = RESULTS

SECONDS_BETWEEN_LOOKS = 2.0
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
        return "starting"
    return lines[-1].partition(" ")[2].strip() if lines else "starting"


@dataclass(frozen=True)
class RunRow:
    """One run in the table of `status`: its name, its state with a detail, and what else is known of it."""

    name: str
    state: StatusName
    detail: str
    cells: tuple[str, ...] = ("", "", "", "")
    disk: str = ""


@dataclass(frozen=True)
class Report:
    """The state of all runs at one moment; `runs` and `folders` are those that exist."""

    rows: list[RunRow]
    runs: list[RunStatus]
    folders: list[RunFolder]
    use: Counter[str]
    left: TimeRemaining | None
    rate: str

    @property
    def summary(self) -> str:
        """Counts by state, runs per hour, and the time left."""
        counts = Counter(row.state for row in self.rows)
        others = [f"{counts[state]} {state}" for state in get_args(StatusName) if counts[state] and state != "done"]
        first = f"{counts['done']} of {fmt.plural(len(self.rows), 'run')} done"
        return ", ".join(filter(None, [first, *others, self.rate, "" if self.left is None else str(self.left)]))

    @property
    def finished(self) -> bool:
        """Whether no run is in progress or still to come."""
        return not {row.state for row in self.rows} & {"running", "interrupted", "to go"}


def read_report(directory: Path) -> Report:
    """The state of the runs below a directory, also of damaged ones and those to come. UserError if there are none."""
    to_come = planned(directory) if directory.is_dir() else {}
    folders = read_runs(directory)
    runs = status(directory, folders, may_be_none=bool(to_come))
    whole_s = mean_run_s(_finished_s(runs), [])
    several = len({run_dir.parent for run_dir in (*to_come, *(run.run_dir for run in runs))}) > 1

    def name(run_dir: Path, run_id: str) -> str:
        return run_dir.relative_to(directory).as_posix() if several else run_id

    rows, use = [], use_outside_runs(directory, {run.run_dir for run in runs})
    for run in runs:
        state, detail = state_of(run, whole_s)
        used = disk_use(run.run_dir)
        use += used
        snapshots = f"{len(run.recorded)}/{'?' if run.wanted is None else len(run.wanted)}"
        rate, seed = fmt.general(run.learning_rate), fmt.MISSING if run.seed is None else str(run.seed)
        cells = (run.arch or fmt.MISSING, rate, seed, snapshots)
        rows.append(RunRow(name(run.run_dir, run.run_id), state, detail, cells, fmt.size(used.total())))
    for run_dir in sorted(to_come.keys() - {run.run_dir for run in runs}, key=lambda path: fmt.natural_key(str(path))):
        cells, rest = _planned_cells(run_dir.name, to_come[run_dir])
        rows.append(RunRow(name(run_dir, run_dir.name), "to go", rest, cells))
    counts = Counter(row.state for row in rows)
    pace = run_rate(counts["running"], whole_s) if counts["running"] and whole_s else ""
    return Report(rows, runs, folders, use, sweep_left(runs, counts["to go"] + counts["interrupted"]), pace)


def _planned_cells(run_id: str, words: Sequence[str]) -> tuple[tuple[str, str, str, str], str]:
    """Architecture, learning rate and seed of a run to come, by its id, and the other options in which it differs."""
    values = dict(word.split("=", 1) for word in words if "=" in word)
    swept = [values.pop(name, "") for name in ("arch", "training.lr", "seed")]
    arch, rate, seed = parts_of_run_id(run_id) or swept
    return (arch, rate, seed, ""), " ".join(f"{name}={value}" for name, value in values.items())


def main(argv: Sequence[str]) -> int:
    """`status DIR [--watch]`: one line per run, also for damaged ones. UserError if there are no runs."""
    parser = CommandParser("status", "Show the progress of each run and the time remaining.", "status runs/demo")
    parser.add_argument(
        "directory", type=folder_argument, metavar="DIR", help="a run, a sweep, or the folder of all sweeps"
    )
    parser.add_argument("--watch", action="store_true", help="show each change until all runs have ended, or Ctrl-C")
    options = parser.parse_args(argv)
    report = read_report(options.directory)
    if options.watch:
        with suppress(KeyboardInterrupt):
            _watch(options.directory, report)
        report = read_report(options.directory)
    cells = [[row.name, *row.cells, row.state, row.disk, row.detail] for row in report.rows]
    print_table(["run", "arch", "lr", "seed", "snapshots", "state", "disk", ""], cells)
    removable = removable_below(options.directory, report.runs, report.folders).removable
    size = sum(each.size for each in removable)
    hint = f"; {PROGRAM} clean {options.directory} lists {fmt.size(size)} that can be removed" if size else ""
    print(f"on disk {describe_use(report.use)}{hint}")
    print(report.summary)
    return ExitCode.DONE


def _watch(directory: Path, report: Report) -> None:
    """Print each change of a state, above a display of the runs in progress, until all runs have ended."""
    shown: dict[str, tuple[StatusName, str]] = {}

    def view() -> ProgressView:
        running = [ProgressRow(row.name, row.detail, None, "") for row in report.rows if row.state == "running"]
        return ProgressView(running, f"{directory}: {report.summary}")

    with display(view):
        while True:
            now = {row.name: (row.state, row.cells[-1]) for row in report.rows}
            if changed := [row for row in report.rows if shown.get(row.name) != now[row.name]]:
                print_above("\n".join([report.summary, *map(_change, changed)]))
            shown = now
            if report.finished:
                return
            began = time.monotonic()
            time.sleep(SECONDS_BETWEEN_LOOKS)
            report = read_report(directory)
            # Reading a sweep of many thousand runs must not take all the time.
            time.sleep(max(time.monotonic() - began - SECONDS_BETWEEN_LOOKS, 0.0))


def _change(row: RunRow) -> str:
    snapshots = f", {row.cells[-1]} snapshots" if row.cells[-1] else ""
    detail = f", {row.detail}" if row.detail and row.state != "to go" else ""
    return f"  {row.name}: {row.state}{snapshots}{detail}"
