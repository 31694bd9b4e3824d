"""The runs of a sweep, planned ones included, and the state of each: done, not done, failed (and why), not begun."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from afterkernel import text as fmt
from afterkernel.records.store import RunFolder, is_exported
from afterkernel.report.table_format import Table, TableRow
from afterkernel.runs.failure import read_failure
from afterkernel.runs.planned import planned
from afterkernel.runs.status import status
from afterkernel.text import natural_key

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class SweepRun:
    """One run. `options` distinguish it from the others of its sweep; `failure` says why its last attempt failed."""

    run_id: str
    options: str
    recorded: tuple[float, ...]
    missing: tuple[float, ...] | None
    done: bool
    failure: str | None

    @property
    def state(self) -> str:
        """The state as text: done, failed, not done (but begun), or not begun."""
        if self.done:
            return "done"
        if self.failure is not None:
            return "failed"
        return "not begun" if self.missing == () and not self.recorded else "not done"


@dataclasses.dataclass(frozen=True)
class SweepRuns:
    """All runs below a directory, and those of its grids that have not begun."""

    runs: list[SweepRun]

    @property
    def n_done(self) -> int:
        """The number of runs that are done."""
        return sum(run.done for run in self.runs)

    @property
    def partial(self) -> bool:
        """Whether a run is not done."""
        return self.n_done < len(self.runs)

    def counts(self) -> str:
        """The number of runs in each state but done: "2 failed, 1 not begun"."""
        states = [run.state for run in self.runs if not run.done]
        return ", ".join(
            f"{states.count(state)} {state}" for state in ("failed", "not done", "not begun") if state in states
        )


def read_runs(directory: Path | str, runs: Sequence[RunFolder] | None = None) -> SweepRuns:
    """The runs below a directory; `runs` if they have been read already. UserError if there is none.

    Of a file of exported records, `runs` must be given; a run with the record of its end is done.
    """
    ended = {run.path for run in runs or () if any(record.final for record in run.records)}
    named = {path.resolve(): overrides for path, overrides in planned(directory).items()}
    found = []
    for one in status(directory, runs):
        default = [f"seed={one.seed}"]
        if one.learning_rate is not None:
            default.append(f"training.lr={fmt.general(one.learning_rate)}")
        options = named.pop(one.run_dir.resolve(), default)
        missing = one.missing if one.wanted is not None else None
        done = one.run_dir in ended if is_exported(directory) else one.done
        failure = None if done else read_failure(one.run_dir)
        found.append(SweepRun(one.run_id, " ".join(options), one.recorded, missing, done, failure))
    for path, overrides in sorted(named.items(), key=lambda item: natural_key(str(item[0]))):
        found.append(SweepRun(path.name, " ".join(overrides), (), (), False, read_failure(path)))
    return SweepRuns(found)


def frame(runs: SweepRuns) -> pd.DataFrame:
    """The runs that are not done: epochs as texts, those of several separated by spaces."""
    import pandas as pd

    found = [
        {
            "run_id": run.run_id,
            "options": run.options,
            "state": run.state,
            "reason": run.failure,
            "epochs_recorded": " ".join(map(fmt.plain, run.recorded)),
            "epochs_missing": None if run.missing is None else " ".join(map(fmt.plain, run.missing)),
        }
        for run in runs.runs
        if not run.done
    ]
    return pd.DataFrame(found)


def table(runs: SweepRuns) -> Table:
    """The runs that are not done: state, reason, epochs recorded and missing; failed ones come first."""
    rows = []
    order = {"failed": 0, "not done": 1, "not begun": 2}
    for run in sorted((run for run in runs.runs if not run.done), key=lambda run: order[run.state]):
        lacks = "unknown: not in its config" if run.missing is None else ", ".join(map(fmt.epochs, run.missing))
        has = ", ".join(map(fmt.epochs, run.recorded))
        cells = [run.run_id, run.options, run.state, run.failure or fmt.MISSING, has or "none", lacks or fmt.MISSING]
        rows.append(TableRow([(cell, "") for cell in cells], alert=run.state == "failed"))
    headings = ["run", "options", "state", "reason", "epochs recorded", "epochs missing"]
    note = (
        "Runs that have a folder or are named in the sweep's grids/*.json, and lack a record. The same command "
        "continues them; delete a grid file that is no longer wanted."
    )
    return Table("Runs that are not done", note, headings, rows, 4, long=len(rows) > 12)
