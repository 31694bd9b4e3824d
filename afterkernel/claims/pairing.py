"""Pairing: values of runs that share data, network, learning rate and seed, as one difference per seed.

A pair of data and network is one sample. Its learning rates are averaged seed by seed, so that no rate is picked after
the fact and the corrections count only pairs of data and network.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from afterkernel.claims.claim import Sample

if TYPE_CHECKING:
    import pandas as pd

SETTING_KEYS = ["dataset", "minus", "plus", "setting"]
RUN_KEYS = [*SETTING_KEYS, "learning_rate", "seed"]


def of_pairs(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of two classes. Claims are about pairs of classes: runs with several classes are never paired."""
    return rows[rows["classes"] == ""]


def without_augmentation(rows: pd.DataFrame, kernel: str = "ntk") -> pd.DataFrame:
    """The rows of one kernel, of networks trained without augmentation."""
    return rows[(rows["kernel"] == kernel) & ~rows["augment"]]


def values_by_run(rows: pd.DataFrame, column: str) -> pd.Series[float]:
    """A column by run, for rows with one snapshot per run, without missing values and SVMs that did not converge."""
    import pandas as pd

    if column not in rows.columns:
        return pd.Series(dtype=float, index=pd.MultiIndex.from_arrays([[]] * len(RUN_KEYS), names=RUN_KEYS))
    if column.startswith("svm_"):
        rows = rows[rows["converged"]]
    return rows.drop_duplicates(RUN_KEYS).set_index(RUN_KEYS)[column].dropna().astype(float)


def at_initialisation(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows at initialisation."""
    return rows[rows["epoch"] == 0]


def at_end(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows at the end of training, of runs that have ended and were trained at all."""
    return rows[rows["final"] & (rows["epoch"] > 0)]


def at_loss_target(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows at the end of runs that stopped at their training-loss target."""
    ended = at_end(rows)
    return ended[(ended["train_loss"] <= ended["loss_target"]).fillna(False).astype(bool)]


def losses_at_stop(rows: pd.DataFrame) -> str:
    """A sentence on how equal the training losses are at which runs stopped."""
    stopped = at_loss_target(without_augmentation(rows)).drop_duplicates(RUN_KEYS)
    means = stopped.groupby("learning_rate")["train_loss"].mean()
    listed = ", ".join(f"{loss:.2g} at learning rate {rate:g}" for rate, loss in means.items())
    targets = ", ".join(f"{target:g}" for target in sorted(stopped["loss_target"].unique()))
    return (
        f"Mean training losses at which the runs stopped: {listed}; the target was {targets}. The loss is compared "
        "with the target at the end of each epoch, so that one long epoch can go well below it."
    )


def last_within(rows: pd.DataFrame, epochs: int) -> pd.DataFrame:
    """The last rows of each run after training for at most `epochs` epochs."""
    early = rows[(rows["epoch"] > 0) & (rows["epoch"] <= epochs)]
    return early[early["epoch"] == early.groupby(RUN_KEYS)["epoch"].transform("max")]


def paired_differences(before: pd.DataFrame, after: pd.DataFrame, column: str, scale: float = 1.0) -> list[Sample]:
    """One sample per pair of data and network: a column of `after` minus that of `before`, run by run, times scale.

    Differences are averaged over learning rates.
    """
    samples = []
    for data, network, (first, second), left_out in _tables([before, after], column, scale):
        means = float(first.to_numpy().mean()), float(second.to_numpy().mean())
        samples.append(Sample(data, network, tuple((second - first).mean(axis=1)), *means, left_out))
    return samples


def seed_values(rows: pd.DataFrame, column: str) -> list[Sample]:
    """One sample per pair of data and network: a column's value per seed, averaged over learning rates."""
    return [
        Sample(data, network, tuple(wide.mean(axis=1)), left_out=left_out)
        for data, network, (wide,), left_out in _tables([rows], column, 1.0)
    ]


def learning_rate_slopes(rows: pd.DataFrame, column: str, scale: float = 1.0) -> list[Sample]:
    """One sample per pair of data and network: seed by seed a column's least-squares slope over log10 of the rate.

    With two learning rates that is their difference over the log of their ratio. `before` and `after` are the means at
    the smallest and at the largest learning rate.
    """
    import numpy as np

    samples = []
    for data, network, (wide,), left_out in _tables([rows], column, scale):
        if len(wide.columns) < 2:
            continue
        log_rates = np.log10(wide.columns.to_numpy(dtype=float))
        log_rates -= log_rates.mean()
        slopes = wide.to_numpy() @ log_rates / (log_rates @ log_rates)
        smallest, largest = (float(wide[rate].mean()) for rate in (wide.columns.min(), wide.columns.max()))
        samples.append(Sample(data, network, tuple(map(float, slopes)), smallest, largest, left_out))
    return samples


def _tables(sides: list[pd.DataFrame], column: str, scale: float) -> Iterator[tuple[str, str, list[pd.DataFrame], str]]:
    """Yield, for each pair of data and network, its two names, one table per side, and the runs left out in words.

    A table has one row per seed and one column per learning rate. Only runs with a value on every side count, and only
    seeds with every learning rate.
    """
    import pandas as pd

    values = [values_by_run(rows, column) * scale for rows in sides]
    joined = pd.concat(values, axis=1, join="inner", keys=range(len(sides)))
    for key, group in joined.groupby(level=SETTING_KEYS, sort=True):
        dataset, minus, plus, setting = cast("tuple[str, str, str, str]", key)
        wide: Any = group.droplevel([*SETTING_KEYS]).unstack("learning_rate").sort_index()
        kept, left_out = _complete(wide[0])
        tables = [wide[place].loc[kept.index, kept.columns] for place in range(len(sides))]
        yield f"{dataset} {minus}/{plus}", setting, tables, left_out


def _complete(wide: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The seeds that have every learning rate, and a text on the seeds and rates left out.

    A learning rate that most seeds lack (as where training diverged) is left out first, so that it does not exclude
    all seeds.
    """
    kept = wide.loc[:, wide.notna().sum() * 2 >= len(wide)]
    rates = [f"{rate:g}" for rate in wide.columns if rate not in kept.columns]
    complete = kept.dropna()
    texts = []
    if rates:
        texts.append(f"learning rate {', '.join(rates)} (missing for most seeds)")
    if len(complete) < len(kept):
        texts.append(f"{len(kept) - len(complete)} of {len(kept)} seeds (a learning rate is missing)")
    return complete, "; ".join(texts)
