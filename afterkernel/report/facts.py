"""Options and provenance of the runs: what they share, and where they differ."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from afterkernel import text as fmt
from afterkernel.records.record import Record
from afterkernel.report.grouping import differing, flatten_all

_MOST_VALUES, _MOST_COMMANDS = 8, 20
_HASH = re.compile(r"[0-9a-f]{32,}")


@dataclasses.dataclass(frozen=True)
class Facts:
    """Names and values: those `shared` by all records, and all values of those that are `varying`."""

    shared: list[tuple[str, str]]
    varying: list[tuple[str, str]]


def configuration(records: Sequence[Record]) -> Facts:
    """The options of the runs."""
    return _facts(flatten_all([record.config for record in records]))


def provenance(records: Sequence[Record]) -> Facts:
    """Versions, commit, device and so on; `commands` lists the commands."""
    return _facts(flatten_all([_provenance(record) for record in records]))


def commands(records: Iterable[Record]) -> list[str]:
    """The commands that made the records, each once, in order; the first ones if there are many."""
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
    varying = differing(trees)
    shared = sorted((name, value) for name, value in trees[0].items() if name not in varying)
    return Facts(shared, [(name, _listed(values)) for name, values in varying.items()])


def _listed(values: list[str]) -> str:
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
