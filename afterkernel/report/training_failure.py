"""Runs that have no trained network: those that diverged, and those whose loss stayed above all that they look for."""

from __future__ import annotations

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
    training, snapshot = (run[0].config.get(group, {}) for group in ("training", "snapshot"))
    losses = [*snapshot.get("losses", ()), training.get("loss_target") or 0.0]
    reached = any(one.train_loss <= max(losses) for one in run if one.step > 0)
    if not any(losses) or reached or not any(one.final and one.step > 0 for one in run):
        return ""
    return f"training loss above {max(losses):g} at every snapshot"
