"""Means over seeds, with what is known of their error."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from afterkernel.text import is_missing


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over `n` seeds, its standard error and Student's 95 % confidence interval (None below two seeds)."""

    mean: float
    error: float | None
    low: float | None
    high: float | None
    n: int


def estimate(values: Iterable[Any], bounds: tuple[float, float] | None = None) -> Estimate | None:
    """The estimate from one value per seed, missing ones left out; None where none is left.

    The standard error is the sample standard deviation (n - 1) over sqrt(n). The interval takes the seeds as
    independent draws from a normal distribution, and is cut off at `bounds`, outside which the mean can't lie: that
    leaves its coverage as it is.
    """
    numbers = [float(value) for value in values if not is_missing(value)]
    n = len(numbers)
    if n == 0:
        return None
    mean = math.fsum(numbers) / n
    if n == 1:
        return Estimate(mean, None, None, None, 1)
    from scipy.special import stdtrit

    error = math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / (n - 1) / n)
    half = float(stdtrit(n - 1, 0.975)) * error
    low, high = mean - half, mean + half
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Estimate(mean, error, low, high, n)


def columns(result: Estimate | None, prefix: str = "") -> dict[str, float | int | None]:
    """The estimate as named numbers for a table: mean, standard_error, ci95_low, ci95_high, n_seeds."""
    names = ["mean", "standard_error", "ci95_low", "ci95_high", "n_seeds"]
    numbers = (None, None, None, None, 0) if result is None else dataclasses.astuple(result)
    return {f"{prefix}{name}": number for name, number in zip(names, numbers, strict=True)}
