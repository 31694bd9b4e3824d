"""Means over seeds, with their standard error and confidence interval."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from afterkernel.text import is_missing


@dataclasses.dataclass(frozen=True)
class SeedMean:
    """A mean over `n` seeds, its standard error and Student's 95 % confidence interval (None below two seeds)."""

    mean: float
    error: float | None
    low: float | None
    high: float | None
    n: int


def mean_over_seeds(values: Iterable[Any], bounds: tuple[float, float] | None = None) -> SeedMean | None:
    """The mean of one value per seed without the missing ones; None if all are missing.

    The standard error is the sample standard deviation (n - 1) over sqrt(n). The interval takes the seeds as
    independent draws from a normal distribution. It is clipped to `bounds`, the range in which the mean must lie, which
    does not change its coverage.
    """
    numbers = [float(value) for value in values if not is_missing(value)]
    n = len(numbers)
    if n == 0:
        return None
    mean = math.fsum(numbers) / n
    if n == 1:
        return SeedMean(mean, None, None, None, 1)
    from scipy.special import stdtrit

    error = math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / (n - 1) / n)
    half = float(stdtrit(n - 1, 0.975)) * error
    low, high = mean - half, mean + half
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return SeedMean(mean, error, low, high, n)


def columns(result: SeedMean | None, prefix: str = "") -> dict[str, float | int | None]:
    """The mean as named numbers for a table: mean, standard_error, ci95_low, ci95_high, n_seeds."""
    names = ["mean", "standard_error", "ci95_low", "ci95_high", "n_seeds"]
    numbers: tuple[float | int | None, ...] = (None, None, None, None, 0)
    if result is not None:
        numbers = (result.mean, result.error, result.low, result.high, result.n)
    return {f"{prefix}{name}": number for name, number in zip(names, numbers, strict=True)}
