"""What pairs with what: values of runs that share data, net, learning rate and seed, as one difference per seed.

A pair of data and net is one sample. Its learning rates are averaged seed by seed, so that no rate is picked after the
fact and the corrections count pairs of data and net alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from afterkernel.claims.hypothesis import Sample

if TYPE_CHECKING:
    import pandas as pd

PAIR = ["dataset", "minus", "plus", "setting"]
RUN = [*PAIR, "learning_rate", "seed"]


def plain(rows: pd.DataFrame, kernel: str = "ntk") -> pd.DataFrame:
    """The rows of one kernel, of networks trained without augmentation."""
    return rows[(rows["kernel"] == kernel) & ~rows["augment"]]


def values(rows: pd.DataFrame, column: str) -> pd.Series[float]:
    """A column by run, what is missing left out, and errors of SVMs that did not converge too; one snapshot per run."""
    import pandas as pd

    if column not in rows.columns:
        return pd.Series(dtype=float, index=pd.MultiIndex.from_arrays([[]] * len(RUN), names=RUN))
    if column.startswith("svm_"):
        rows = rows[rows["converged"]]
    return rows.drop_duplicates(RUN).set_index(RUN)[column].dropna().astype(float)


def start(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows at initialisation."""
    return rows[rows["epoch"] == 0]


def end(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows at the end of training, of runs that have ended and were trained at all."""
    return rows[rows["final"] & (rows["epoch"] > 0)]


def reached(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows at the end of runs that stopped at their training-loss target."""
    ended = end(rows)
    return ended[(ended["train_loss"] <= ended["loss_target"]).fillna(False).astype(bool)]


def losses_at_stop(rows: pd.DataFrame) -> str:
    """How equal the training losses are at which runs stopped, in a sentence."""
    stopped = reached(plain(rows)).drop_duplicates(RUN)
    means = stopped.groupby("learning_rate")["train_loss"].mean()
    listed = ", ".join(f"{loss:.2g} at learning rate {rate:g}" for rate, loss in means.items())
    targets = ", ".join(f"{target:g}" for target in sorted(stopped["loss_target"].unique()))
    return (
        f"Training losses where the runs stopped, on average: {listed}; the target was {targets}. A loss is compared "
        "with it whenever an epoch ends, so that one long step can go well below."
    )


def up_to(rows: pd.DataFrame, epochs: int) -> pd.DataFrame:
    """The last rows of each run after training of at most so many epochs."""
    early = rows[(rows["epoch"] > 0) & (rows["epoch"] <= epochs)]
    return early[early["epoch"] == early.groupby(RUN)["epoch"].transform("max")]


def differences(before: pd.Series[float], after: pd.Series[float], scale: float = 1.0) -> list[Sample]:
    """One sample per pair of data and net: after minus before per run, averaged over learning rates, times scale."""
    samples = []
    both = before.index.intersection(after.index)
    for (data, network), one, other in _pairs(before.loc[both] * scale, after.loc[both] * scale):
        first, left_out = _balanced(one)
        second = other.loc[first.index, first.columns]
        change = (second - first).mean(axis=1)
        means = float(first.to_numpy().mean()), float(second.to_numpy().mean())
        samples.append(Sample(data, network, tuple(change), *means, left_out))
    return samples


def levels(found: pd.Series[float], scale: float = 1.0) -> list[Sample]:
    """One sample per pair of data and net: a value per seed, averaged over learning rates, times scale."""
    samples = []
    for (data, network), one, _ in _pairs(found * scale, found):
        wide, left_out = _balanced(one)
        samples.append(Sample(data, network, tuple(wide.mean(axis=1)), left_out=left_out))
    return samples


def slopes(found: pd.Series[float], scale: float = 1.0) -> list[Sample]:
    """One sample per pair of data and net: seed by seed the least-squares slope over log10 of the learning rate.

    With two learning rates that is their difference over the log of their ratio. `before` and `after` are the means at
    the smallest and at the largest learning rate.
    """
    import numpy as np

    samples = []
    for (data, network), one, _ in _pairs(found * scale, found):
        wide, left_out = _balanced(one)
        if len(wide.columns) < 2:
            continue
        place = np.log10(wide.columns.to_numpy(dtype=float))
        place -= place.mean()
        slope = wide.to_numpy() @ place / (place @ place)
        smallest, largest = (float(wide[rate].mean()) for rate in (wide.columns.min(), wide.columns.max()))
        samples.append(Sample(data, network, tuple(map(float, slope)), smallest, largest, left_out))
    return samples


def _pairs(
    one: pd.Series[float], other: pd.Series[float]
) -> Iterator[tuple[tuple[str, str], pd.DataFrame, pd.DataFrame]]:
    """By pair of data and net: its names, and both series as tables of seeds by learning rates."""
    for key, group in one.groupby(level=PAIR, sort=True):
        dataset, minus, plus, setting = cast("tuple[str, str, str, str]", key)
        wide = group.droplevel([*PAIR]).unstack("learning_rate").sort_index()
        other_wide = other.loc[group.index].droplevel([*PAIR]).unstack("learning_rate").sort_index()
        yield (f"{dataset} {minus}/{plus}", setting), wide, other_wide


def _balanced(wide: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The seeds that have every learning rate, and a sentence on the seeds and rates left out.

    A learning rate that most seeds lack (as where training diverged) is left out first, so that it does not take all
    seeds with it.
    """
    kept = wide.loc[:, wide.notna().sum() * 2 >= len(wide)]
    rates = [f"{rate:g}" for rate in wide.columns if rate not in kept.columns]
    whole = kept.dropna()
    words: list[Any] = []
    if rates:
        words.append(f"learning rate {', '.join(rates)} (most seeds lack it)")
    if len(whole) < len(kept):
        words.append(f"{len(kept) - len(whole)} of {len(kept)} seeds (a learning rate is missing)")
    return whole, "; ".join(words)
