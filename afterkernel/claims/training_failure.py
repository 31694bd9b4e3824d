"""Runs without a trained network: those that diverged, and those that ended above all of `snapshot.losses`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from afterkernel.claims.readings import DIVERGED
from afterkernel.records.record import Record


def training_failures(records: Iterable[Record]) -> dict[tuple[str, str], str]:
    """Why a run has no trained network, by sweep and run id, for the runs that have ended without one."""
    runs: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for one in records:
        runs[one.sweep, one.run_id].append(one)
    return {run: failure for run, found in runs.items() if (failure := _failure(found))}


def _failure(run: Sequence[Record]) -> str:
    if any(one.training_end == "diverged" for one in run):
        return DIVERGED
    largest = max(run[0].config.get("snapshot", {}).get("losses", ()), default=math.inf)
    # The loss at the end decides: a network may reach a loss and collapse afterwards.
    if any(one.final and one.step > 0 and one.train_loss > largest for one in run):
        return f"training loss above {largest:g} at the end"
    return ""
