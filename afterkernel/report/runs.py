"""The runs that there are to be and how far each is: done, begun, failed (and why), not begun."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from afterkernel import text as fmt
from afterkernel.records.store import RunFolder
from afterkernel.report.table_format import Row, Table
from afterkernel.runs.failure import read_failure
from afterkernel.runs.planned import planned
from afterkernel.runs.status import status


@dataclasses.dataclass(frozen=True)
class Run:
    """One run. `options` tell it from the others of its sweep; `failure` says why it failed last."""

    run_id: str
    options: str
    recorded: tuple[int, ...]
    missing: tuple[int, ...] | None
    done: bool
    failure: str | None

    @property
    def state(self) -> str:
        """In words: done, failed, not done (begun), or not begun."""
        if self.done:
            return "done"
        if self.failure is not None:
            return "failed"
        return "not begun" if self.missing == () and not self.recorded else "not done"


@dataclasses.dataclass(frozen=True)
class Runs:
    """All runs below a directory, and those that its grids name but that have not begun."""

    runs: list[Run]

    @property
    def n_done(self) -> int:
        """How many are done."""
        return sum(run.done for run in self.runs)

    @property
    def partial(self) -> bool:
        """Whether any is not."""
        return self.n_done < len(self.runs)

    def counts(self) -> str:
        """How many there are in each state that is not done: "2 failed, 1 not begun"."""
        states = [run.state for run in self.runs if not run.done]
        return ", ".join(
            f"{states.count(state)} {state}" for state in ("failed", "not done", "not begun") if state in states
        )


def read_runs(directory: Path | str, runs: Sequence[RunFolder] | None = None) -> Runs:
    """The runs below a directory; `runs` where they have been read already. UserError where there is none."""
    named = {path.resolve(): words for path, words in planned(directory).items()}
    found = []
    for one in status(directory, runs):
        words = named.pop(one.run_dir.resolve(), None)
        options = words if words is not None else [f"seed={one.seed}", f"training.lr={fmt.general(one.learning_rate)}"]
        missing = one.missing if one.wanted is not None else None
        failure = None if one.done else read_failure(one.run_dir)
        found.append(Run(one.run_id, " ".join(options), one.recorded, missing, one.done, failure))
    for path, words in sorted(named.items()):
        found.append(Run(path.name, " ".join(words), (), (), False, read_failure(path)))
    return Runs(found)


def table(runs: Runs) -> Table:
    """The runs that are not done: state, reason, epochs recorded and missing; failed ones come first."""
    rows = []
    order = {"failed": 0, "not done": 1, "not begun": 2}
    for run in sorted((run for run in runs.runs if not run.done), key=lambda run: order[run.state]):
        lacks = "unknown: its config does not say" if run.missing is None else ", ".join(map(str, run.missing))
        has = ", ".join(map(str, run.recorded))
        cells = [run.run_id, run.options, run.state, run.failure or "", has or "none", lacks or fmt.MISSING]
        rows.append(Row([(cell, "") for cell in cells], alert=run.state == "failed"))
    headings = ["run", "options", "state", "reason", "epochs recorded", "epochs missing"]
    note = (
        "Runs that are named in grids/*.json of the sweep, or have a folder, and lack a record. The same command goes "
        "on with them; a grid that is no longer wanted can be removed."
    )
    return Table("Runs that are not done", note, headings, rows, 4, long=len(rows) > 12)
