"""Inference over seeds and test images together: the mean of a table of seeds by images, both drawn at random.

The variance of the mean is that of the crossed random-effects model, from the two-way analysis of variance, and the
degrees of freedom are Satterthwaite's (Biometrics Bulletin 2, 1946).
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DRAWS = 10_000
# One image whose answers differ, in percentage points: the scale where no answer differs.
_ONE_IMAGE = 100.0


@dataclasses.dataclass(frozen=True)
class TwoWay:
    """The mean of a table (seeds, images), its standard error over both, and the degrees of freedom.

    `shared` is the part of its variance that more seeds do not reduce. `by_seed` and `by_image` are the deviations of
    the means of rows and columns from it, over their number: the part of each seed and image in its deviation.
    """

    mean: float
    error: float
    degrees: float
    shared: float
    by_seed: Floats
    by_image: Floats

    def upper_tail(self, bound: float, sign: float) -> float:
        """The one-sided p-value of the mean lying beyond a bound (sign 1: above, -1: below), by Student's t."""
        from scipy.special import stdtr

        return float(stdtr(self.degrees, -sign * (self.mean - bound) / self.error))

    def planned(self, n: int) -> tuple[float, float]:
        """The standard error and the degrees of freedom that `n` seeds would give with the same images."""
        by_seed = (self.error**2 - self.shared) * len(self.by_seed) / n
        variance = by_seed + self.shared
        uncertainty = by_seed**2 / (n - 1) + self.shared**2 / (len(self.by_image) - 1)
        return math.sqrt(variance), variance**2 / uncertainty

    def interval(self, level: float) -> tuple[float, float]:
        """The interval that misses the mean over all seeds and images with probability `level`."""
        from scipy.special import stdtrit

        half = float(stdtrit(self.degrees, 1 - level / 2)) * self.error
        return self.mean - half, self.mean + half


def two_way(table: NDArray[np.float32]) -> TwoWay:
    """The analysis of a table (seeds, images) with at least two of both.

    Two images are added to the variance, one with each sign of the largest answer: as with Agresti and Min's pseudo-
    counts (Statistics in Medicine 24, 2005), a few differing images, or none, do not look like certainty.
    """
    cells = np.asarray(table, dtype=np.float64)
    n, m = cells.shape
    mean = float(cells.mean())
    rows, columns = cells.mean(axis=1) - mean, cells.mean(axis=0) - mean
    largest = float(np.abs(cells).max()) or _ONE_IMAGE
    residuals = np.square(cells - mean).sum() - m * np.square(rows).sum() - n * np.square(columns).sum()
    seeds = float(np.square(rows).sum()) / ((n - 1) * n)
    images = (float(np.square(columns).sum()) + 2 * largest**2) / ((m - 1) * m)
    rest = max(0.0, float(residuals)) / ((n - 1) * (m - 1) * n * m)
    variance = max(seeds + images - rest, seeds, images)
    uncertainty = seeds**2 / (n - 1) + images**2 / (m - 1) + rest**2 / ((n - 1) * (m - 1))
    degrees = max(variance**2 / uncertainty, min(n, m) - 1.0)
    return TwoWay(mean, math.sqrt(variance), degrees, min(variance, max(0.0, images - rest)), rows / n, columns / m)


def joint_draws(found: Sequence[TwoWay], seeds: Sequence[Sequence[int]], test_sets: Sequence[str]) -> Floats:
    """Draws (draws, tables) of standard normal deviations of the means, correlated as these are.

    Tables share the effects of seeds with the same number, and of images where their test set has the same name.
    """
    places = {seed: place for place, seed in enumerate(sorted({seed for one in seeds for seed in one}))}
    by_seed = np.zeros((len(places), len(found)))
    covariance = np.zeros((len(found), len(found)))
    for column, one in enumerate(found):
        by_seed[[places[seed] for seed in seeds[column]], column] = one.by_seed
    covariance += by_seed.T @ by_seed
    groups: dict[tuple[str | int, int], list[int]] = {}
    for column, (one, name) in enumerate(zip(found, test_sets, strict=True)):
        groups.setdefault((name or column, len(one.by_image)), []).append(column)
    for columns in groups.values():
        by_image = np.stack([found[column].by_image for column in columns])
        covariance[np.ix_(columns, columns)] += by_image @ by_image.T
    spread = np.sqrt(np.diag(covariance))
    flat = spread <= 0
    correlation = covariance / np.outer(np.where(flat, 1.0, spread), np.where(flat, 1.0, spread))
    correlation[flat, flat] = 1.0
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    draws: Floats = np.random.default_rng(0).standard_normal((DRAWS, len(found))) @ root.T
    return draws
