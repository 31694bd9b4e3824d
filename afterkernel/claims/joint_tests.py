"""The tests of all comparisons of a claim together, and what they give for each: see `inference`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from afterkernel.claims.inference import Inference
from afterkernel.claims.power import detectable_by_seeds, detectable_by_t
from afterkernel.claims.region import FEWEST_SEEDS, LEVEL, Region
from afterkernel.claims.sign_flips import flipped_t, own_p, step_down_p
from afterkernel.claims.stats import mean_over_seeds
from afterkernel.claims.two_way import TwoWay, joint_draws, two_way

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from afterkernel.claims.claim import Sample

    Floats = NDArray[np.float64]

# Differences smaller than this share of the values that are compared are rounding.
_ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True)
class _Columns:
    """The one-sided tests of several comparisons, one column per bound: (draws, columns) of the null distribution.

    `cutoffs` are for the effect lying on the side of the region, `opposite` for the other side, whose draws are the
    negated ones. `slices` has the columns of each comparison.
    """

    draws: Floats
    cutoffs: Floats
    opposite: Floats
    slices: list[slice]

    def p_values(self) -> list[dict[str, float]]:
        """The two-sided p-values of each comparison."""
        holds, holds_joint = own_p(self.draws, self.cutoffs), step_down_p(self.draws, self.cutoffs)
        fails_joint = step_down_p(-self.draws, self.opposite)
        return [
            {
                # Within the region: beyond each bound. Outside: beyond one of them, corrected for the choice.
                "p_holds": _two_sided(holds[own].max()),
                "p_holds_joint": _two_sided(holds_joint[own].max()),
                "p_fails": _two_sided((-self.draws[:, own].min(axis=1) >= self.opposite[own].max()).mean()),
                "p_fails_joint": _two_sided(fails_joint[own].min()),
            }
            for own in self.slices
        ]


def infer_jointly(samples: Sequence[Sample], regions: Sequence[Region]) -> list[Inference]:
    """See `inference.infer_jointly`."""
    found = [_summary(sample) for sample in samples]
    tested = [place for place, one in enumerate(found) if not one.obstacle]
    if not tested:
        return found
    chosen, bounds = [samples[place] for place in tested], [regions[place] for place in tested]
    flips = _sign_flip_columns(chosen, bounds)
    p_values = flips.p_values()
    detectable = [
        detectable_by_seeds(len(sample.values), found[place].sd or 0.0, others)
        for place, sample, others in zip(tested, chosen, _largest_of_others(flips), strict=True)
    ]
    intervals: dict[int, tuple[float, float]] = {}
    if with_images := [at for at, sample in enumerate(chosen) if sample.images is not None]:
        tables = [two_way(sample.images) for sample in chosen if sample.images is not None]
        over_both = _over_images([chosen[at] for at in with_images], [bounds[at] for at in with_images], tables)
        for at, table, (both, effect) in zip(with_images, tables, over_both, strict=True):
            p_values[at] = {name: max(p, both[name]) for name, p in p_values[at].items()}
            detectable[at] = max(detectable[at], effect)
            intervals[at] = table.interval(LEVEL)
    for at, place in enumerate(tested):
        low, high = intervals.get(at, (None, None))
        changes: dict[str, Any] = {**p_values[at], **_student(found[place], bounds[at])}
        changes |= {"images_low": low, "images_high": high, "detectable": detectable[at]}
        found[place] = dataclasses.replace(found[place], **changes, obstacle=_no_difference(chosen[at], bounds[at]))
    return found


def _summary(sample: Sample) -> Inference:
    over_seeds = mean_over_seeds(sample.values)
    if over_seeds is None:
        return Inference(0, obstacle=sample.obstacle or "no seed has both sides of the comparison")
    n, error = over_seeds.n, over_seeds.error
    few = f"n = {n}, but {FEWEST_SEEDS} seeds are needed" if n < FEWEST_SEEDS else ""
    return Inference(
        n=n,
        mean=over_seeds.mean,
        sd=None if error is None else error * math.sqrt(n),
        error=error,
        low=over_seeds.low,
        high=over_seeds.high,
        obstacle=sample.obstacle or few,
    )


def _seeds(sample: Sample) -> Sequence[int]:
    return sample.seeds or range(len(sample.values))


def _beyond(sample: Sample, bound: float, sign: float) -> Floats:
    """How far each seed's value lies beyond a bound, in the direction of the sign; rounding counts as 0."""
    values = np.asarray(sample.values, dtype=np.float64)
    sides = [abs(side) for side in (bound, sample.before, sample.after) if side is not None]
    differences = sign * (values - bound)
    differences[np.abs(differences) <= _ROUNDING * max(*sides, np.abs(values).max())] = 0.0
    return differences


def _sign_flip_columns(samples: Sequence[Sample], regions: Sequence[Region]) -> _Columns:
    places = {seed: place for place, seed in enumerate(sorted({seed for one in samples for seed in _seeds(one)}))}
    columns, counts = [], []
    for sample, region in zip(samples, regions, strict=True):
        for bound, sign in region.bounds:
            column = np.zeros(len(places))
            column[[places[seed] for seed in _seeds(sample)]] = _beyond(sample, bound, sign)
            columns.append(column)
            counts.append(float(len(sample.values)))
    differences = np.stack(columns, axis=1)
    return _Columns(*flipped_t(differences, np.array(counts)), _slices(regions))


def _slices(regions: Sequence[Region]) -> list[slice]:
    ends = np.cumsum([len(region.bounds) for region in regions])
    return [slice(int(end) - len(region.bounds), int(end)) for end, region in zip(ends, regions, strict=True)]


def _largest_of_others(columns: _Columns) -> list[Floats | None]:
    """For each comparison the largest statistic of the others, of every draw but the observed one."""
    if len(columns.slices) == 1:
        return [None]
    draws = np.pad(columns.draws[1:].T, ((1, 1), (0, 0)), constant_values=-np.inf)
    before, after = np.maximum.accumulate(draws, axis=0), np.maximum.accumulate(draws[::-1], axis=0)[::-1]
    return [np.maximum(before[own.start], after[own.stop + 1]) for own in columns.slices]


def _over_images(
    samples: Sequence[Sample], regions: Sequence[Region], tables: Sequence[TwoWay]
) -> list[tuple[dict[str, float], float]]:
    """For each comparison its p-values over seeds and images, and the effect detectable over both."""
    from scipy.special import ndtr, ndtri

    draws = joint_draws(tables, [_seeds(one) for one in samples], [one.test_set for one in samples])
    which = [(at, bound, sign) for at, region in enumerate(regions) for bound, sign in region.bounds]
    tails = np.array([[tables[at].upper_tail(bound, side * sign) for side in (1, -1)] for at, bound, sign in which])
    # Own tests are Student's; the correction compares tail areas of all comparisons, with correlated normal draws.
    cutoffs, opposite = -ndtri(tails.T)
    draws = np.concatenate([cutoffs[None], draws[:, [at for at, *_ in which]] * [sign for *_, sign in which]])
    columns = _Columns(draws, cutoffs, opposite, _slices(regions))
    level = float(ndtr(-np.quantile(draws[1:].max(axis=1), 1 - LEVEL / 2)))
    found = []
    for own, table, p in zip(columns.slices, tables, columns.p_values(), strict=True):
        holds = _two_sided(tails[own, 0].max())
        fails = _two_sided(tails[own, 1].min() * (own.stop - own.start))
        joint = {
            "p_holds_joint": max(holds, p["p_holds_joint"]),
            "p_fails_joint": max(fails, p["p_fails_joint"]),
        }
        effect = detectable_by_t(table.error, table.degrees, level)
        found.append(({"p_holds": holds, "p_fails": fails, **joint}, effect))
    return found


def _student(found: Inference, region: Region) -> dict[str, float]:
    """Student's p-values; equivalence by two one-sided tests (Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987)."""
    from scipy.special import stdtr

    mean, error = found.mean or 0.0, found.error or 0.0
    inside, outside = [], []
    for bound, sign in region.bounds:
        distance = sign * (mean - bound)
        t = distance / error if error > 0 else math.copysign(math.inf, distance) if distance else 0.0
        inside.append(1.0 if t == 0 == distance else float(stdtr(found.n - 1, -t)))
        outside.append(1.0 if t == 0 == distance else float(stdtr(found.n - 1, t)))
    return {
        "p_holds_t": _two_sided(max(inside)),
        "p_fails_t": _two_sided(min(outside) * len(outside)),
    }


def _no_difference(sample: Sample, region: Region) -> str:
    for bound, sign in region.bounds:
        if not _beyond(sample, bound, sign).any():
            n = len(sample.values)
            return f"all {n} differences are 0" if bound == 0 else f"all {n} values are at the bound {bound:g}"
    return ""


def _two_sided(p: float) -> float:
    return float(min(1.0, 2 * p))
