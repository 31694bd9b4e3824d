"""Pairing: values of runs that share data, network, learning rate and seed, as one difference per seed.

The unit of a comparison is a pair of data and network at one learning rate: nothing is averaged over learning rates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from afterkernel.claims.claim import Sample
from afterkernel.claims.readings import (
    SETTING_KEYS,
    Reading,
    columns_of,
    complete,
    difference,
    names,
    readings,
    weighted,
)

if TYPE_CHECKING:
    import pandas as pd

RUN_KEYS = [*SETTING_KEYS, "augment", "learning_rate", "seed"]
NO_AUGMENTATION = "none"
_RATE = ["learning_rate"]


def of_pairs(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of two classes. Claims are about pairs of classes: runs with several classes are never paired."""
    return rows[rows["classes"] == ""]


def without_augmentation(rows: pd.DataFrame, kernel: str = "ntk") -> pd.DataFrame:
    """The rows of one kernel, of networks trained without augmentation."""
    return rows[(rows["kernel"] == kernel) & (rows["augment"] == NO_AUGMENTATION)]


def at_initialisation(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows at initialisation."""
    return rows[rows["epoch"] == 0]


def at_end(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows at the end of training, of runs that have ended and were trained at all.

    Of runs that differ only in where training stops it is the end of the longest.
    """
    return _latest(rows[rows["final"] & (rows["epoch"] > 0)])


def last_within(rows: pd.DataFrame, epochs: int) -> pd.DataFrame:
    """The last rows of each run after training for at most `epochs` epochs."""
    return _latest(rows[(rows["epoch"] > 0) & (rows["epoch"] <= epochs)])


def paired_differences(
    before: pd.DataFrame, after: pd.DataFrame, column: str, scale: float = 1.0, *, by_rate: bool = True
) -> list[Sample]:
    """One sample per pair of data and network and learning rate: a column of `after` minus that of `before`, times
    `scale`, run by run. Without `by_rate` there is one for all rates, for networks that have no rate yet.
    """
    keys = _RATE if by_rate else []
    first, second = _by_unit(before, column, scale, keys), _by_unit(after, column, scale, keys)
    samples = []
    for unit in sorted(first.keys() & second.keys()):
        named, side = first[unit]
        samples.append(difference(named, side, second[unit][1], rate=unit[4] if by_rate else None))
    return samples


def seed_values(rows: pd.DataFrame, column: str, *, by_rate: bool = True) -> list[Sample]:
    """One sample per pair of data and network, and learning rate if `by_rate`: a column's value per seed."""
    samples = []
    for unit, (named, side) in sorted(_by_unit(rows, column, 1.0, _RATE if by_rate else []).items()):
        seeds, left_out = complete({"": side})
        if seeds:
            fields = weighted({"": side}, (1.0,), seeds)
            samples.append(Sample(**named, **fields, left_out=left_out, rate=unit[4] if by_rate else None))
    return samples


_Unit = tuple[dict[str, Any], dict[int, Reading]]


def _by_unit(rows: pd.DataFrame, column: str, scale: float, keys: list[str]) -> dict[tuple[Any, ...], _Unit]:
    """By unit its names and its readings by seed; none if nothing was measured."""
    if column not in rows.columns or bool(rows[column].isna().all()):
        return {}
    by = [*SETTING_KEYS, *keys]
    # Not group by group, which takes long.
    once = columns_of(rows, column).drop_duplicates([*by, "seed"]).dropna(subset=by)
    found: dict[tuple[Any, ...], _Unit] = {}
    units = zip(*(once[key] for key in by), strict=True)
    for unit, seed, n_test, reading in zip(
        units, once["seed"], once["n_test"], readings(once, column, scale), strict=True
    ):
        if unit not in found:
            found[unit] = (names(unit, n_test), {})
        found[unit][1][seed] = reading
    return found


def _latest(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["step"] == rows.groupby([*RUN_KEYS, "kernel"])["step"].transform("max")]
