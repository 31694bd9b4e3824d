"""Inference on all comparisons of a claim together: means over seeds, intervals, tests, corrections.

The estimand is the mean of the paired difference over seeds; where there are answers by image, over seeds and images.
Sign flips of the seeds decide (`sign_flips`); where there are images, a two-way analysis of seeds and images must agree
(`two_way`). Both are corrected over the comparisons of the claim.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from afterkernel.claims.region import FEWEST_SEEDS, LEVEL, Region

if TYPE_CHECKING:
    from afterkernel.claims.claim import Sample

__all__ = ["FEWEST_SEEDS", "LEVEL", "Inference", "Region", "infer_jointly"]


@dataclasses.dataclass(frozen=True)
class Inference:
    """The mean of one value per seed, and its tests against a region.

    `sd` is the standard deviation over seeds, `error` the standard error of the mean; `low` and `high` are Student's
    95 % interval over seeds, None below two. `images_low` and `images_high` are the 95 % interval over seeds and
    images, None without images.

    `p_holds` tests that the mean lies within the region, `p_fails` that it lies outside, for this comparison alone;
    `..._joint` are corrected over all comparisons; `..._t` are Student's, which decide nothing. All are twice a
    one-sided p-value. `detectable` is the smallest effect beyond the bound that this many seeds, of this spread, with
    these images, would show in 80 % of sweeps after the correction. Where there is no test, these are None and
    `obstacle` says why; where all differences are 0 the p-values are 1, and `obstacle` says so.
    """

    n: int
    mean: float | None = None
    sd: float | None = None
    error: float | None = None
    low: float | None = None
    high: float | None = None
    images_low: float | None = None
    images_high: float | None = None
    p_holds: float | None = None
    p_fails: float | None = None
    p_holds_joint: float | None = None
    p_fails_joint: float | None = None
    p_holds_t: float | None = None
    p_fails_t: float | None = None
    detectable: float | None = None
    obstacle: str = ""


def infer_jointly(samples: Sequence[Sample], regions: Sequence[Region]) -> list[Inference]:
    """The inference on every comparison of a claim, each against its region, in order."""
    # NumPy is slow to import, and what only names a region does not need it.
    from afterkernel.claims import joint_tests

    return joint_tests.infer_jointly(samples, regions)
