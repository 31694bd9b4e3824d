"""What the runs share, where they differ, and what they came from."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from afterkernel import text as fmt
from afterkernel.records.record import Record
from afterkernel.report.sections import differing, flatten_all

_MOST_VALUES, _MOST_COMMANDS = 8, 20
_HASH = re.compile(r"[0-9a-f]{32,}")


@dataclasses.dataclass(frozen=True)
class Facts:
    """Settings by dotted name: `shared` by all records, and the values of those that `vary`."""

    shared: list[tuple[str, str]]
    vary: list[tuple[str, str]]


def configuration(records: Sequence[Record]) -> Facts:
    """The settings of the runs."""
    return _facts(flatten_all([record.config for record in records]))


def provenance(records: Sequence[Record]) -> Facts:
    """Versions, commit, device and the like; `commands` lists the commands."""
    return _facts(flatten_all([_provenance(record) for record in records]))


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


def _provenance(record: Record) -> dict[str, Any]:
    facts = {"commit": record.commit, "device": record.device, **record.provenance}
    return {name: value for name, value in facts.items() if name != "command"}


def _facts(trees: list[dict[str, str]]) -> Facts:
    vary = differing(trees)
    shared = sorted((name, value) for name, value in trees[0].items() if name not in vary)
    return Facts(shared, [(name, _several(values)) for name, values in vary.items()])


def _several(values: list[str]) -> str:
    if len(values) > _MOST_VALUES and all(_HASH.fullmatch(value) for value in values):
        return f"{len(values):,} different hashes"
    values = sorted(("(not set)" if value == "" else value for value in values), key=_order)
    more = len(values) - _MOST_VALUES
    return ", ".join(values[:_MOST_VALUES]) + (f" and {fmt.plural(more, 'other value')}" if more > 0 else "")


def _order(value: str) -> tuple[float, str]:
    try:
        number = json.loads(value)
    except ValueError:
        return float("inf"), value
    return (float(number), "") if isinstance(number, (int, float)) else (float("inf"), value)
