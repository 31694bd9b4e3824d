"""How long a sweep will still take, from how long its runs took and how far those in progress are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from afterkernel.text import duration


@dataclass(frozen=True)
class TimeRemaining:
    """Seconds left; if the time of a whole run is unknown, it is more than that."""

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
        """What it will still take, given what a run takes as a whole."""
        stage_left_s = self.stage_left_s or 0.0
        if self.run_left_s is not None:
            return TimeRemaining(max(self.run_left_s, stage_left_s))
        if whole_s is not None:
            return TimeRemaining(max(whole_s - self.spent_s, stage_left_s))
        return None if self.stage_left_s is None else TimeRemaining(stage_left_s, more=True)


def mean_run_s(finished_s: Sequence[float], running: Sequence[RunTiming]) -> float | None:
    """What a run takes: the mean of those that finished and of those that know their end; None without any."""
    known = [run.spent_s + run.run_left_s for run in running if run.run_left_s is not None]
    whole = [*finished_s, *known]
    return sum(whole) / len(whole) if whole else None


def time_left(
    finished_s: Sequence[float], running: Sequence[RunTiming], to_go: int, at_once: int = 1
) -> TimeRemaining | None:
    """What the sweep will still take, so many runs `at_once` (or as many as are in progress); None if unknown.

    A run takes as long as the mean of those that are known as a whole; where there is none, longer than the stages that
    are known.
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
    # No run is shared out among places.
    least_s = max([*known, each_s if to_go else 0.0])
    return TimeRemaining(max(work_s / places, least_s), more=whole_s is None)
