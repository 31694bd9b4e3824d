"""The numbers of the report as plain data frames: fractions, seconds, bytes, nothing rounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from afterkernel.claims.stats import columns, estimate
from afterkernel.kernel_kinds import describe
from afterkernel.report.sections import KEYS

if TYPE_CHECKING:
    import pandas as pd

INVARIANCES = ["shift", "rotation", "zoom", "swap"]
TABLE_MEASURES = ["svm_test_error", *(f"{name}_invariance" for name in INVARIANCES), "effective_rank"]
NETWORK = "network"
BOUNDS = {"svm_test_error": (0.0, 1.0), **{f"{name}_invariance": (-1.0, 1.0) for name in INVARIANCES}}
_RATE = (0.0, 1.0)


def kernel_rank(name: str) -> tuple[int, str]:
    """The position of a kernel among others: in the order that their declarations give, the network itself last."""
    return (2**31 if name == NETWORK else describe(name).order), name


def kernel_order(names: Iterable[str]) -> list[str]:
    """The different names, in that order."""
    return sorted(set(names), key=kernel_rank)


def errors_by_epoch(rows: pd.DataFrame) -> pd.DataFrame:
    """Test error by panel, learning rate, kernel and epoch, over seeds: the SVM's by kernel, and the network's own.

    Columns: panel, learning_rate, kernel ("ntk", "conjugate" or "network"), epoch, then mean, standard_error, ci95_low,
    ci95_high (fractions) and n_seeds. `rows` are those of one evaluation.
    """
    import pandas as pd

    found = []
    for key, group in _groups(rows, [*KEYS, "kernel", "epoch"]):
        found.append({**key, **columns(estimate(group["svm_test_error"], _RATE))})
    own = rows.drop_duplicates([*KEYS, "seed", "epoch"])
    for key, group in _groups(own, [*KEYS, "epoch"]):
        found.append({**key, "kernel": NETWORK, **columns(estimate(group["net_test_error"], _RATE))})
    return pd.DataFrame(found)


def errors_at_start(rows: pd.DataFrame) -> pd.DataFrame:
    """SVM test error at epoch 0 by panel and kernel, over seeds: there a seed's kernel knows no learning rate yet."""
    import pandas as pd

    start = rows[rows["epoch"] == 0].groupby(["panel", "kernel", "seed"])[["svm_test_error"]].mean().reset_index()
    found = [
        {**key, **columns(estimate(group["svm_test_error"], _RATE))}
        for key, group in _groups(start, ["panel", "kernel"])
    ]
    return pd.DataFrame(found, columns=["panel", "kernel", *columns(None)])


def changes(rows: pd.DataFrame) -> pd.DataFrame:
    """Each measure at initialisation and at the last snapshot, by panel, learning rate and kernel, over seeds.

    Columns: panel, learning_rate, kernel, measure, epochs (of the last snapshots, as text), final (whether these end
    their runs), n_lower (runs in which the measure fell), then before_, after_ and change_ with mean, standard_error,
    ci95_low, ci95_high, n_seeds. Where some runs have both ends recorded, these alone count, and the
    change is taken run by run, so its error is that of the paired difference.
    """
    import pandas as pd

    found = []
    for key, group in _groups(rows, [*KEYS, "kernel"]):
        start = group[group["epoch"] == 0].set_index(["sweep", "run_id"])
        end = group[group["last"]].set_index(["sweep", "run_id"])
        both = start.index.intersection(end.index)
        if len(both):
            start, end = start.loc[both], end.loc[both]
        epochs = sorted({int(epoch) for epoch in end["epoch"]})
        text = "" if not epochs else str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
        for measure in TABLE_MEASURES:
            difference = (end[measure] - start[measure]).dropna()
            found.append(
                {
                    **key,
                    "measure": measure,
                    "epochs": text,
                    "final": bool(len(end)) and bool(end["final"].all()),
                    "n_lower": int((difference < 0).sum()),
                    **columns(estimate(start[measure], BOUNDS.get(measure)), "before_"),
                    **columns(estimate(end[measure], BOUNDS.get(measure)), "after_"),
                    **columns(estimate(difference), "change_"),
                }
            )
    return pd.DataFrame(found)


def unchanged(rows: pd.DataFrame, tolerance: float = 1e-3) -> list[str]:
    """Transforms that leave all images as they are: the NTK's invariances are all 1 within the tolerance.

    The conjugate kernel is asked only where there is no NTK: the 1e-4 added to its smaller norms may exceed it.
    """
    ntk = rows[rows["kernel"] == "ntk"]
    rows = rows if ntk.empty else ntk
    values = {name: rows[f"{name}_invariance"].dropna() for name in INVARIANCES}
    return [name for name, value in values.items() if len(value) and bool(((value - 1).abs() <= tolerance).all())]


def health(rows: pd.DataFrame) -> pd.DataFrame:
    """How the SVMs ended, by panel, learning rate, kernel and epoch, over seeds; of the gap the largest counts."""
    import pandas as pd

    found = []
    for key, group in _groups(rows, [*KEYS, "kernel", "epoch"]):
        found.append(
            {
                **key,
                "svm_backend": ", ".join(sorted(set(group["svm_backend"]))),
                "svm_path": ", ".join(sorted(set(group["svm_path"]))),
                "svm_intercept": bool(group["svm_intercept"].any()),
                "n": len(group),
                "n_converged": int(group["converged"].sum()),
                "n_separable": int(group["separable"].fillna(False).sum()),
                "n_separable_unknown": int(group["separable"].isna().sum()),
                "largest_gap": group["gap"].max(),
                "mean_margin": group["margin"].mean(),
                "mean_train_error": float(group["svm_train_error"].mean()),
                "fewest_support": int(group["n_support"].min()),
                "most_support": int(group["n_support"].max()),
            }
        )
    return pd.DataFrame(found)


def costs(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean seconds a snapshot, by panel and kernel, their sum over all snapshots, and the largest peak of memory."""
    import pandas as pd

    times = ["wall_s_kernel", "wall_s_svm", "wall_s_measures"]
    found = []
    for key, group in _groups(rows, ["panel", "kernel"]):
        means = {f"mean_{name}": float(group[name].mean()) for name in times}
        total, peak = float(group[times].to_numpy().sum()), int(group["peak_bytes"].max())
        found.append({**key, "n": len(group), **means, "total_wall_s": total, "largest_peak_bytes": peak})
    return pd.DataFrame(found)


def networks(rows: pd.DataFrame) -> pd.DataFrame:
    """The networks at their last snapshot, by panel and learning rate, over seeds."""
    import pandas as pd

    found = []
    for key, group in _groups(rows[rows["last"]].drop_duplicates([*KEYS, "seed"]), KEYS):
        row: dict[str, Any] = {**key, "n_seeds": len(group)}
        for name in ["width", "parameters", "n_train", "n_test", "epoch", "step"]:
            low, high = int(group[name].min()), int(group[name].max())
            row[name] = str(low) if low == high else f"{low} to {high}"
        for name in ["train_loss", "net_train_error", "net_test_error"]:
            row[f"mean_{name}"] = float(group[name].mean())
        found.append(row)
    return pd.DataFrame(found)


def _groups(rows: pd.DataFrame, keys: list[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    for values, group in rows.groupby(keys, sort=True):
        yield dict(zip(keys, values, strict=True)), group
