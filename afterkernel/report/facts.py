"""What the runs of a section share, where they differ, what they came from, and what is still missing."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from afterkernel.report.sections import differing, flatten
from afterkernel.report.show import Row, Table
from afterkernel.store import format as fmt
from afterkernel.store.record import Record
from afterkernel.store.status import RunStatus

_MOST_VALUES, _MOST_COMMANDS = 8, 20


@dataclasses.dataclass(frozen=True)
class Facts:
    """Settings by dotted name: `shared` by all records, and the values of those that `vary`."""

    shared: list[tuple[str, str]]
    vary: list[tuple[str, str]]


def configuration(records: Sequence[Record]) -> Facts:
    """The settings of the runs."""
    return _facts([flatten(record.config) for record in records])


def provenance(records: Sequence[Record]) -> Facts:
    """Versions, commit, device and the like; the commands are told apart by `commands`."""
    return _facts([flatten(_provenance(record)) for record in records])


def commands(records: Iterable[Record]) -> list[str]:
    """The commands that made the records, each once, in order; the first few where there are many."""
    found: dict[str, None] = {}
    for record in records:
        command: Any = record.provenance.get("command")
        if isinstance(command, list):
            command = shlex.join(map(str, command))
        if isinstance(command, str) and command:
            found[command] = None
    more = len(found) - _MOST_COMMANDS
    return [*list(found)[:_MOST_COMMANDS], *([f"# and {more} more"] if more > 0 else [])]


def missing_table(runs: Iterable[RunStatus]) -> Table:
    """The runs that are not done, and the epochs that they lack."""
    rows = []
    for run in runs:
        if not run.done:
            lacks = ", ".join(map(str, run.missing)) if run.wanted is not None else "unknown: its config does not say"
            seed = fmt.MISSING if run.seed is None else str(run.seed)
            has = ", ".join(map(str, run.recorded)) or "none"
            cells = [run.run_id, run.arch or fmt.MISSING, fmt.general(run.learning_rate), seed, has, lacks]
            rows.append(Row([(cell, "") for cell in cells], alert=True))
    headings = ["run", "architecture", "learning rate", "seed", "epochs recorded", "epochs missing"]
    return Table("Missing snapshots", "", headings, rows, 4, long=len(rows) > 12)


def _provenance(record: Record) -> dict[str, Any]:
    told = {"commit": record.commit, "device": record.device, **record.provenance}
    return {name: value for name, value in told.items() if name != "command"}


def _facts(trees: list[dict[str, str]]) -> Facts:
    vary = differing(trees)
    shared = sorted((name, value) for name, value in trees[0].items() if name not in vary)
    return Facts(shared, [(name, _several(list(counts))) for name, counts in vary.items()])


def _several(values: list[str]) -> str:
    values = sorted(("(not set)" if value == "" else value for value in values), key=_order)
    more = len(values) - _MOST_VALUES
    return ", ".join(values[:_MOST_VALUES]) + (f" and {fmt.plural(more, 'other value')}" if more > 0 else "")


def _order(value: str) -> tuple[float, str]:
    try:
        number = json.loads(value)
    except ValueError:
        return float("inf"), value
    return (float(number), "") if isinstance(number, (int, float)) else (float("inf"), value)
