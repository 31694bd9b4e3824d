"""Markdown: a table of each sweep, the slopes, and how the machine was."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from side_by_side.cases import Case, Facts, Sweep
from side_by_side.measure import Outcome
from side_by_side.methods import LIMIT, OURS, Method


@dataclass
class Row:
    """A case and what came of it, by method."""

    case: Case
    facts: Facts
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def seconds(self, method: Method) -> float | None:
        """Seconds of a method, if it has any."""
        found = self.outcomes.get(method.key)
        return None if found is None else found.seconds


def machine(versions: Mapping[str, str], case: Case) -> str:
    """The line that says on what all was measured."""
    names = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    place = f"{names[0] if names else platform.processor() or 'unknown CPU'}, {os.cpu_count()} cores"
    what = f"{case.threads} threads, Python {platform.python_version()}"
    images = "MNIST 3/8" if case.root else "random images"
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{place}; {what}; {case.device}; {packages}; {images}."


def table(sweep: Sweep, rows: list[Row], methods: list[Method]) -> str:
    """One sweep: seconds and MiB of every method, and how ours compares."""
    peers = [method for method in methods if method not in (LIMIT, OURS)]
    heads = ["net", "n", "parameters", *([sweep.column] if sweep.column else [])]
    heads += [method.label for method in methods] + ["ours / limit", "best peer / ours"]
    lines = []
    for row in rows:
        cells = [row.case.net, row.case.images, f"{row.facts.parameters:,}"]
        cells += [str(sweep.value(row.case, row.facts))] if sweep.column else []
        cells += [cell(row.outcomes.get(method.key)) for method in methods]
        best = min((s for s in map(row.seconds, peers) if s is not None), default=None)
        lines.append([*cells, _ratio(row.seconds(OURS), row.seconds(LIMIT)), _ratio(best, row.seconds(OURS))])
    return markdown(heads, lines)


def slopes(sweep: Sweep, rows: list[Row], methods: list[Method]) -> str:
    """Exponents of the seconds in the swept quantity, by network; the full set, another job, is left out."""
    lines = []
    for net in dict.fromkeys(row.case.net for row in rows):
        cells = [net]
        for method in methods:
            points = [
                (math.log(sweep.value(row.case, row.facts)), math.log(seconds))
                for row in rows
                if row.case.net == net and not row.case.n_test and (seconds := row.seconds(method))
            ]
            cells.append(_slope(points))
        lines.append(cells)
    return markdown(["slope", *(method.label for method in methods)], lines)


def errors(rows: list[Row], methods: list[Method]) -> str:
    """The largest difference of each method from ours, by network, relative to the largest entry."""
    lines = []
    for net in dict.fromkeys(row.case.net for row in rows):
        found = [row.outcomes for row in rows if row.case.net == net]
        cells = [[each[m.key].error for each in found if m.key in each] for m in methods]
        known = [[error for error in each if error is not None] for each in cells]
        lines.append([net, *(f"{max(each):.0e}" if each else "-" for each in known)])
    return markdown(["error", *(method.label for method in methods)], lines)


def notes(rows: list[Row], methods: list[Method]) -> list[str]:
    """The remarks on a method, each once per network."""
    said: dict[tuple[str, str], str] = {}
    for row in rows:
        for method in methods:
            found = row.outcomes.get(method.key)
            if found is not None and found.note:
                said.setdefault((method.label, row.case.net), f"{method.label}, {row.case.net}: {found.note}")
    return list(said.values())


def cell(outcome: Outcome | None) -> str:
    """Seconds and MiB, or what there is instead."""
    if outcome is None:
        return "-"
    if outcome.seconds is None:
        return outcome.says
    time = f"{outcome.seconds:.3g}" if outcome.seconds < 100 else f"{outcome.seconds:.0f}"
    return time if outcome.peak_bytes is None else f"{time} ({outcome.peak_bytes / 2**20:,.0f})"


def _slope(points: list[tuple[float, float]]) -> str:
    if len({x for x, _ in points}) < 2:
        return "-"
    xs, ys = zip(*points, strict=True)
    return f"{statistics.linear_regression(xs, ys).slope:.2f}"


def _ratio(above: float | None, below: float | None) -> str:
    return "-" if above is None or not below else f"{above / below:.1f}"


def markdown(heads: list[str], lines: Iterable[list[str]]) -> str:
    """A table."""
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []
