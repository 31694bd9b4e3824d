"""Comparisons at equal training loss: runs at the losses of their snapshots, read off between those next to a loss.

A run's value at a loss is interpolated in the logarithm of the loss between the first two consecutive snapshots that
bracket it, which may differ by at most a factor of 3: by the parabola through these and the one next to them, since a
straight line would miss the curve of a measure by more at rates whose snapshots lie further from the loss. The
initialisation is no after kernel and does not count as a snapshot. Where too few runs have a value, nothing is tested:
a difference might be that of the losses.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from afterkernel.claims.claim import Sample
from afterkernel.claims.inference import FEWEST_SEEDS
from afterkernel.claims.pairing import NO_AUGMENTATION, at_end
from afterkernel.claims.readings import (
    DIVERGED,
    Reading,
    by_unit,
    columns_of,
    complete,
    mean,
    names,
    readings,
    weighted,
)
from afterkernel.claims.stats import mean_over_seeds

if TYPE_CHECKING:
    import pandas as pd

WIDEST = 3.0
LOSSES_DIFFER = "losses differ"
NOT_REACHED = "did not reach the loss"
NOT_BRACKETED = f"snapshots do not bracket the loss within a factor of {WIDEST:g}"
_EQUAL = 1e-9


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """One run after its initialisation, snapshot by snapshot in the order of steps: training losses and readings."""

    losses: list[float]
    readings: list[Reading]

    def at(self, loss: float) -> Reading:
        """The reading at a training loss; `missing` says why there is none."""
        if any(one.missing == DIVERGED for one in self.readings):
            return Reading(missing=DIVERGED)
        near = next((place for place, one in enumerate(self.losses) if abs(one - loss) <= _EQUAL * loss), None)
        pairs = enumerate(itertools.pairwise(self.losses))
        above = next((place for place, (higher, lower) in pairs if higher >= loss >= lower), None)
        if near is not None and (above is None or near <= above + 1):
            return self.readings[near]
        if not any(one < loss for one in self.losses):
            return Reading(missing=NOT_REACHED)
        if above is None or self.losses[above] > WIDEST * self.losses[above + 1]:
            return Reading(missing=NOT_BRACKETED)
        places = self._around(above, loss)
        weights = _lagrange([math.log(self.losses[place] / loss) for place in places])
        return _combined([self.readings[place] for place in places], weights)

    def _around(self, above: int, loss: float) -> list[int]:
        """The two snapshots that bracket a loss, and the nearer one next to them if that lets a curve be followed.

        It must continue the fall of the loss, by at most a factor of 3, and by no less than half the bracket: the
        values of snapshots that are close together would get large weights of opposite signs.
        """
        narrowest = math.sqrt(self.losses[above] / self.losses[above + 1])
        steps = ((above - 1, above - 1, above), (above + 2, above + 1, above + 2))
        beyond = [
            outer
            for outer, higher, lower in steps
            if 0 <= outer < len(self.losses) and self.losses[lower] > 0 and not self.readings[outer].missing
            if narrowest <= self.losses[higher] / self.losses[lower] <= WIDEST
        ]
        nearest = sorted(beyond, key=lambda at: abs(math.log(self.losses[at] / loss)))[:1]
        return sorted([above, above + 1, *nearest])

    def next_to(self, loss: float) -> list[tuple[float, float]]:
        """Logarithm of the loss, and value, of the snapshots next to a loss: the last above it, and the first below."""
        below = next((place for place, one in enumerate(self.losses) if one <= loss), len(self.losses))
        found = [place for place in (below - 1, below) if 0 <= place < len(self.losses)]
        return [
            (math.log(self.losses[place]), self.readings[place].value)
            for place in found
            if not self.readings[place].missing and self.losses[place] > 0
        ]


# By seed, for one side of a comparison.
Runs = Mapping[int, Trajectory]


def rate_slopes(rows: pd.DataFrame, column: str, scale: float = 1.0) -> list[Sample]:
    """One sample per pair of data and network and loss: seed by seed a column's slope over log10 of the learning rate.

    With two learning rates that is their difference over the log of their ratio. `before` and `after` are the means at
    the smallest and at the largest learning rate. A rate that most seeds lack at a loss is left out first, so that it
    does not exclude all seeds.
    """
    if column not in rows.columns or bool(rows[column].isna().all()):
        return []
    samples = []
    for unit, group in by_unit(columns_of(rows, column), []):
        rates = trajectories(group, "learning_rate", column, scale)
        named = names(unit, int(group["n_test"].iloc[0]))
        if len(rates) > 1:
            samples += [_slope(named, rates, loss) for loss in levels(group)]
    return samples


def augmentation_differences(rows: pd.DataFrame, augmentation: str, column: str) -> list[Sample]:
    """One sample per pair of data and network, learning rate and loss: a column with an augmentation minus without.

    Without losses of snapshots and without a target it is compared at the largest loss at which a run ends.
    """
    if column not in rows.columns or bool(rows[column].isna().all()):
        return []
    samples = []
    for unit, group in by_unit(columns_of(rows, column), ["learning_rate"]):
        if augmentation not in set(group["augment"]):
            continue
        pair = group[group["augment"].isin([NO_AUGMENTATION, augmentation])]
        found = trajectories(pair, "augment", column)
        sides = {name: found.get(name, {}) for name in (NO_AUGMENTATION, augmentation)}
        if all(sides.values()):
            named, rate = names(unit, int(pair["n_test"].iloc[0])), float(unit[4])
            samples += [_augmentation(named, sides, rate, loss) for loss in levels(pair) or _largest_final_loss(pair)]
    return samples


def levels(rows: pd.DataFrame) -> list[float]:
    """The losses at which these runs are compared: those of their snapshots; without any, their targets."""
    listed = {loss for losses in rows["losses"] for loss in losses}
    return sorted(map(float, listed or rows["loss_target"].dropna().unique()), reverse=True)


def _largest_final_loss(rows: pd.DataFrame) -> list[float]:
    ended = at_end(rows[rows["training_failure"] == ""])
    return [float(ended["train_loss"].max())] if len(ended) else []


def trajectories(rows: pd.DataFrame, by: str, column: str, scale: float = 1.0) -> dict[Any, dict[int, Trajectory]]:
    """A column times `scale` of each run: by the values of the column `by` in order, then by seed.

    Runs without such a value, such as those of a Recorder without a learning rate, are left out.
    """
    keys, rows = [by, "seed", "step"], rows.dropna(subset=by)
    trained = rows[rows["epoch"] > 0].sort_values(keys, kind="stable").drop_duplicates(keys)
    found: dict[Any, dict[int, Trajectory]] = {side: {} for side in sorted(rows[by].unique())}
    columns = trained[by], trained["seed"], trained["train_loss"].astype(float), readings(trained, column, scale)
    for side, seed, loss, reading in zip(*columns, strict=True):
        run = found[side].setdefault(int(seed), Trajectory([], []))
        run.losses.append(loss)
        run.readings.append(reading)
    return found


def _slope(named: Mapping[str, Any], rates: Mapping[float, Runs], loss: float) -> Sample:
    at = {rate: _at(runs, loss) for rate, runs in rates.items()}
    n_seeds = len(set().union(*at.values()))
    kept = {rate: side for rate, side in at.items() if 2 * sum(not one.missing for one in side.values()) >= n_seeds}
    left_out = [f"learning rate {rate:g}: {complete({rate: at[rate]})[1]}" for rate in at if rate not in kept]
    seeds, lacking = complete(kept) if kept else ([], "")
    others = f"other learning rates: {lacking}" if left_out and lacking else lacking
    texts = "; ".join([*left_out, *([others] if others else [])])
    if len(kept) < 2 or (n_seeds >= FEWEST_SEEDS > len(seeds)):
        remark = _adjusted({math.log10(rate): runs for rate, runs in rates.items()}, loss, "slope")
        return Sample(**named, values=(), left_out=texts, loss=loss, obstacle=LOSSES_DIFFER, remark=remark)
    slowest, fastest = (mean(kept[rate], seeds) for rate in (min(kept), max(kept)))
    fields = weighted(kept, _slope_weights(list(kept)), seeds)
    return Sample(**named, **fields, before=slowest, after=fastest, left_out=texts, loss=loss)


def _augmentation(named: Mapping[str, Any], runs: Mapping[str, Runs], rate: float, loss: float) -> Sample:
    sides = {name: _at(one, loss) for name, one in runs.items()}
    seeds, left_out = complete(sides)
    n_seeds = len(set().union(*sides.values()))
    fields: dict[str, Any] = {"left_out": left_out, "rate": rate, "loss": loss}
    if 2 * len(seeds) < n_seeds or not seeds:
        remark = _adjusted(dict(zip((0.0, 1.0), runs.values(), strict=True)), loss, "difference")
        return Sample(**named, values=(), obstacle=LOSSES_DIFFER, remark=remark, **fields)
    before, after = (mean(side, seeds) for side in sides.values())
    return Sample(**named, **weighted(sides, (-1.0, 1.0), seeds), before=before, after=after, **fields)


def _at(runs: Runs, loss: float) -> dict[int, Reading]:
    return {seed: run.at(loss) for seed, run in runs.items()}


def _slope_weights(rates: Sequence[float]) -> list[float]:
    """What the values at the rates are multiplied by, so that the sum is their least-squares slope over log10."""
    logs = [math.log10(rate) for rate in rates]
    centred = [one - math.fsum(logs) / len(logs) for one in logs]
    return [one / math.fsum(other * other for other in centred) for one in centred]


def _lagrange(places: Sequence[float]) -> list[float]:
    """The weights of values at these places whose sum is their polynomial of least degree at 0."""
    return [math.prod(other / (other - one) for other in places if other != one) for one in places]


def _combined(found: Sequence[Reading], weights: Sequence[float]) -> Reading:
    if missing := next((one.missing for one in found if one.missing), ""):
        return Reading(missing=missing)
    pairs = list(zip(weights, found, strict=True))
    images = [weight * one.images for weight, one in pairs if one.images is not None]
    summed = sum(images[1:], images[0]).astype("float32") if len(images) == len(pairs) else None
    return Reading(math.fsum(weight * one.value for weight, one in pairs), summed, run=found[0].run)


def _adjusted(sides: Mapping[float, Runs], loss: float, what: str) -> str:
    """The effect adjusted for the loss: seed by seed, least squares of the value on the side and on ln(loss)."""
    import numpy as np

    effects = []
    for seed in sorted(set().union(*sides.values())):
        points = [
            (1.0, side, *point) for side, runs in sides.items() if seed in runs for point in runs[seed].next_to(loss)
        ]
        table = np.array(points).reshape(-1, 4)
        if np.linalg.matrix_rank(table[:, :3]) == 3:
            effects.append(float(np.linalg.lstsq(table[:, :3], table[:, 3])[0][1]))
    found = mean_over_seeds(effects)
    if found is None:
        return f"no {what} adjusted for the loss: too few snapshots"
    interval = "" if found.low is None else f" [{found.low:.3g}, {found.high:.3g}]"
    numbers = f"{found.mean:.3g}{interval}".replace("-", "\N{MINUS SIGN}")
    return f"{what} adjusted for the loss, not tested: {numbers}, n = {found.n}"


def differing(samples: Iterable[Sample]) -> str:
    """A sentence on the comparisons of which the losses differ; empty if there is none."""
    samples = list(samples)
    found = [one for one in samples if one.obstacle == LOSSES_DIFFER]
    if not found:
        return ""
    return (
        f"In {len(found)} of {len(samples)} comparisons too few runs have a value at the loss, so that they are not "
        "tested; the table has the effect adjusted for the loss instead."
    )
