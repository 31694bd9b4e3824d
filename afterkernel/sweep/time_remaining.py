"""Estimates of the time that a sweep will still take, from its finished runs and the progress of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from afterkernel.text import duration


@dataclass(frozen=True)
class TimeRemaining:
    """Seconds left; a lower bound if `more`, as when the time of a whole run is unknown."""

    wall_s: float
    more: bool = False

    def __str__(self) -> str:
        return f"{'over' if self.more else 'about'} {duration(self.wall_s)} left"


@dataclass(frozen=True)
class RunTiming:
    """A run in progress: seconds since its start, and what it and its present stage will take (None: unknown)."""

    spent_s: float
    run_left_s: float | None
    stage_left_s: float | None

    def left(self, whole_s: float | None) -> TimeRemaining | None:
        """The time left, given the time that a whole run takes."""
        stage_left_s = self.stage_left_s or 0.0
        if self.run_left_s is not None:
            return TimeRemaining(max(self.run_left_s, stage_left_s))
        if whole_s is not None:
            return TimeRemaining(max(whole_s - self.spent_s, stage_left_s))
        return None if self.stage_left_s is None else TimeRemaining(stage_left_s, more=True)


def mean_run_s(finished_s: Sequence[float], running: Sequence[RunTiming]) -> float | None:
    """The time of a run: the mean over finished runs and those with a known end; None if there are none."""
    known = [run.spent_s + run.run_left_s for run in running if run.run_left_s is not None]
    whole = [*finished_s, *known]
    return sum(whole) / len(whole) if whole else None


def run_rate(at_once: int, whole_s: float) -> str:
    """The pace of a sweep of which so many runs run at a time: 23 runs/h, 2.5 runs/h, 12 runs/min."""
    an_hour = 3600 * at_once / max(whole_s, 1e-9)
    if an_hour >= 600:
        return f"{an_hour / 60:,.0f} runs/min"
    return f"{an_hour:.0f} runs/h" if an_hour >= 10 else f"{an_hour:.1f} runs/h"


def time_left(
    finished_s: Sequence[float], running: Sequence[RunTiming], to_go: int, at_once: int = 1
) -> TimeRemaining | None:
    """The time that the sweep will still take with `at_once` runs at a time (or as many as run now); None if unknown.

    Each run is assumed to take the mean time of the runs with a known end. Without any, the known stages give a lower
    bound.
    """
    whole_s = mean_run_s(finished_s, running)
    lefts = [run.left(whole_s) for run in running]
    known = [left.wall_s for left in lefts if left is not None]
    if whole_s is None:
        spent = [run.spent_s + left.wall_s for run, left in zip(running, lefts, strict=True) if left is not None]
        if not spent:
            return None
        each_s = sum(spent) / len(spent)
    else:
        each_s = whole_s
    work_s = sum(known) + to_go * each_s
    places = max(at_once, len(running), 1)
    # One run can not be divided among processes.
    least_s = max([*known, each_s if to_go else 0.0])
    return TimeRemaining(max(work_s / places, least_s), more=whole_s is None)
