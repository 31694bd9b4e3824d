"""Runs without a trained network: those that diverged, and those that ended at about the loss of guessing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from afterkernel.claims.readings import DIVERGED
from afterkernel.records.record import Record

# A network has learned if its loss is below this share of the loss of guessing.
_LEARNED = 0.95


def training_failures(records: Iterable[Record]) -> dict[tuple[str, str], str]:
    """Why a run has no trained network, by sweep and run id, for the runs that have ended without one."""
    runs: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for one in records:
        runs[one.sweep, one.run_id].append(one)
    return {run: failure for run, found in runs.items() if (failure := _failure(found))}


def _failure(run: Sequence[Record]) -> str:
    if any(one.training_end == "diverged" for one in run):
        return DIVERGED
    chance = math.log(len(run[0].classes) or 2)  # the loss of a network that gives all classes the same probability
    # The loss at the end decides: a network may learn and collapse afterwards.
    if any(one.final and one.step > 0 and one.train_loss > _LEARNED * chance for one in run):
        return f"training loss above {_LEARNED * chance:.2f} at the end, {100 * _LEARNED:g} % of that of guessing"
    return ""
