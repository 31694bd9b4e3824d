"""Joint sign-flip tests: whether the means of paired differences exceed 0, corrected over comparisons by max-T.

Where noise is exchangeable between the two arms of a comparison, a difference has a symmetric distribution, and every
pattern of signs over the seeds is as likely as the one observed: the test is exact, whatever the distribution.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ALL_FLIPS_UP_TO = 12
RANDOM_FLIPS = 10_000
# Statistics closer than this share of their range count as equal: they differ by rounding.
_TIE = 1e-9


@lru_cache(maxsize=16)
def sign_vectors(n: int) -> Floats:
    """Signs (flips, n), the identity first: all 2^n of up to 12 seeds, else 10,000 random ones after the identity."""
    if n <= ALL_FLIPS_UP_TO:
        bits = np.arange(2**n)[:, None] >> np.arange(n) & 1
    else:
        bits = np.random.default_rng(0).integers(0, 2, (RANDOM_FLIPS + 1, n))
        bits[0] = 0
    signs = np.where(bits == 1, -1.0, 1.0)
    signs.flags.writeable = False
    return signs


def flipped_t(differences: Floats, counts: Floats) -> tuple[Floats, Floats, Floats]:
    """Student's t (flips, columns) of every flip of the differences (seeds, columns), and its cutoffs (columns).

    Column j has `counts[j]` seeds; those that it lacks are 0. A flip counts as at least as large as the observed
    column if its t reaches the cutoff, which is the observed t less a tolerance for rounding. Equal differences have
    an infinite t; where all are 0 it is 0. The second cutoffs are those of the negated differences.
    """
    scale = np.sqrt(counts * np.square(differences).sum(axis=0))
    # Flips leave the sum of squares as it is, so that t follows from the mean alone.
    share = sign_vectors(len(differences)) @ (differences / np.where(scale > 0, scale, 1.0))
    return _t(share, counts), _t(share[0] - _TIE, counts), _t(-share[0] - _TIE, counts)


def _t(share: Floats, counts: Floats) -> Floats:
    """Student's t from the mean as a share of the root mean square, which lies between -1 and 1."""
    share = np.clip(share, -1.0, 1.0)
    with np.errstate(divide="ignore"):
        found: Floats = share * np.sqrt(counts - 1) / np.sqrt(1 - np.square(share))
    return found


def own_p(draws: Floats, cutoffs: Floats) -> Floats:
    """The one-sided p-value of each column alone: the share of draws (draws, columns) that reach its cutoff."""
    found: Floats = (draws >= cutoffs).mean(axis=0)
    return found


def step_down_p(draws: Floats, cutoffs: Floats) -> Floats:
    """The one-sided p-value of each column, corrected over all columns: step-down max-T.

    Westfall and Young, Resampling-Based Multiple Testing, 1993, algorithm 4.1. `draws` (draws, columns) are joint
    draws under the null hypothesis, the observed one among them; equal statistics are compared with all of them.
    """
    order = np.argsort(-cutoffs, kind="stable")
    # The largest of each column and of those that were observed to be smaller.
    largest = np.maximum.accumulate(np.ascontiguousarray(draws.T[order[::-1]]), axis=0)[::-1]
    corrected = np.empty(len(order))
    corrected[order] = np.maximum.accumulate((largest >= cutoffs[order, None]).mean(axis=1))
    return corrected
