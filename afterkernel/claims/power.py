"""Power: the effect that a number of seeds would show in 80 % of sweeps, and the seeds that an effect needs.

Noise is taken as normal with the standard deviation that was observed.
"""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_left
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from afterkernel.claims.region import FEWEST_SEEDS, LEVEL
from afterkernel.claims.sign_flips import flipped_t, sign_vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from afterkernel.claims.two_way import TwoWay

    Floats = NDArray[np.float64]

POWER = 0.8
MOST_SEEDS = 1000
_SIMULATIONS = 400
# Mean effects over their standard errors, at which power is simulated.
_EFFECTS = np.geomspace(1.5, 24.0, 18)
# With more seeds sign flips and Student's t have the same power.
_SIMULATED_UP_TO = 10
# Simulated sweeps of the other comparisons of a planned one.
_OTHERS = 7


@dataclasses.dataclass(frozen=True)
class _Sweeps:
    """Simulated sweeps of one comparison, by effect: the observed t, and the share of other flips that reach it."""

    t: Floats
    reached: Floats


@lru_cache(maxsize=64)
def _simulated(n: int) -> _Sweeps:
    from scipy.special import stdtr

    noise = np.random.default_rng(n).standard_normal((n, _SIMULATIONS))
    counts = np.full(_SIMULATIONS, float(n))
    t = np.empty((len(_EFFECTS), _SIMULATIONS))
    reached = np.empty_like(t)
    for row, effect in enumerate(_EFFECTS):
        differences = noise + effect / math.sqrt(n)
        if n <= _SIMULATED_UP_TO:
            flips, cutoffs, _ = flipped_t(differences, counts)
            t[row], reached[row] = cutoffs, (flips[1:] >= cutoffs).sum(axis=0) / len(flips)
        else:
            t[row] = differences.mean(axis=0) / (differences.std(axis=0, ddof=1) / math.sqrt(n))
            reached[row] = stdtr(n - 1, -t[row])
    return _Sweeps(t, reached)


def detectable_by_seeds(n: int, sd: float, others: Floats | None) -> float:
    """The smallest mean effect that sign flips of n seeds with a standard deviation `sd` show in 80 % of sweeps.

    `others` (flips) has the largest t of the other comparisons for every flip but the identity; None if there is no
    other. Infinity if no effect is shown.
    """
    if sd == 0:
        return 0.0
    sweeps = _simulated(n)
    identity = 1 / len(sign_vectors(n))
    sorted_others = None if others is None else np.sort(others)

    def power(row: int) -> float:
        share = sweeps.reached[row]
        if sorted_others is not None:
            larger = 1 - np.searchsorted(sorted_others, sweeps.t[row]) / len(sorted_others)
            share = share + larger - share * larger
        return float((2 * (share + identity) < LEVEL).mean())

    enough = bisect_left(range(len(_EFFECTS)), POWER, key=power)
    if enough == len(_EFFECTS):
        return math.inf
    if enough == 0:
        return float(_EFFECTS[0]) / math.sqrt(n) * sd
    effect = np.interp(POWER, [power(enough - 1), power(enough)], _EFFECTS[enough - 1 : enough + 1])
    return float(effect) / math.sqrt(n) * sd


def detectable_by_t(error: float, degrees: float, level: float) -> float:
    """The smallest mean effect that a one-sided t test at a level shows in 80 % of sweeps."""
    from scipy.special import nctdtrinc, stdtrit

    return float(nctdtrinc(degrees, 1 - POWER, stdtrit(degrees, 1 - level))) * error


@lru_cache(maxsize=4096)
def planned_detectable(n: int, comparisons: int) -> float:
    """`detectable_by_seeds` of a planned sweep, in standard deviations.

    Its other comparisons are taken as independent and without effect.
    """
    if n > _SIMULATED_UP_TO:
        return detectable_by_t(1 / math.sqrt(n), n - 1, _planned_level(comparisons))
    if comparisons < 2:
        return detectable_by_seeds(n, 1.0, None)
    found = []
    for draw in range(_OTHERS):
        noise = np.random.default_rng([comparisons, draw]).standard_normal((n, comparisons - 1))
        flips, _, _ = flipped_t(noise, np.full(comparisons - 1, float(n)))
        found.append(detectable_by_seeds(n, 1.0, flips[1:].max(axis=1)))
    return float(np.median(found))


def seeds_needed(effect: float, sd: float, comparisons: int, table: TwoWay | None = None) -> int | None:
    """The fewest seeds that show a mean effect beyond the bound in 80 % of sweeps with so many comparisons.

    `sd` is the standard deviation over seeds; `table` the two-way analysis where images count as well. None if not even
    1,000 seeds show it, as where there are too few images.
    """

    def enough(n: int) -> bool:
        detectable = planned_detectable(n, comparisons) * sd if sd > 0 else 0.0
        if table is not None:
            detectable = max(detectable, detectable_by_t(*table.planned(n), _planned_level(comparisons)))
        return detectable <= effect

    if effect <= 0:
        return None
    found = bisect_left(range(FEWEST_SEEDS, MOST_SEEDS + 1), True, key=enough) + FEWEST_SEEDS
    return found if found <= MOST_SEEDS else None


def _planned_level(comparisons: int) -> float:
    """The one-sided level of each of several independent comparisons (Sidak)."""
    return -math.expm1(math.log1p(-LEVEL / 2) / comparisons)
