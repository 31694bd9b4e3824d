"""The numbers of the report as plain data frames: fractions, seconds, bytes, nothing rounded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.claims.stats import columns, mean_over_seeds
from afterkernel.records.glossary import BY_NAME
from afterkernel.records.record import Resources
from afterkernel.report.sections import KEYS
from afterkernel.report.stages import at_stages
from afterkernel.report.terms import NETWORK, measured

if TYPE_CHECKING:
    import pandas as pd

# Columns of the record by what they are.
TIMES = [field.name for field in dataclasses.fields(Resources) if field.name.startswith("wall_s_")]
NETWORK_NUMBERS = [term.name for term in BY_NAME.values() if term.topic == "network"]
_CELL = [*KEYS, "kernel"]
NETWORK_SIZES = ["width", "parameters", "n_train", "n_test", "epoch"]


def errors_by_epoch(rows: pd.DataFrame) -> pd.DataFrame:
    """Test error by panel, learning rate, kernel and stage, over seeds: the SVM's by kernel, and the network's own.

    Columns: panel, learning_rate, kernel (a kernel's name, or "network"), stage, epoch (see `stages`), then mean,
    standard_error, ci95_low, ci95_high (fractions) and n_seeds. `rows` are those of one evaluation group.
    """
    import pandas as pd

    rows = at_stages(rows[[*KEYS, "kernel", "epoch", "planned", "last", "seed", "svm_test_error", "net_test_error"]])
    found = []
    for key, group in _groups(rows, [*KEYS, "kernel", "stage", "epoch"]):
        found.append({**key, **_error(group, "svm_test_error")})
    own = rows.drop_duplicates([*KEYS, "seed", "stage"])
    for key, group in _groups(own, [*KEYS, "stage", "epoch"]):
        found.append({**key, "kernel": NETWORK, **_error(group, "net_test_error")})
    return pd.DataFrame(found)


def errors_at_start(rows: pd.DataFrame) -> pd.DataFrame:
    """SVM test error at epoch 0 by panel and kernel, over seeds: a seed's kernel has no learning rate there yet."""
    import pandas as pd

    start = rows[rows["epoch"] == 0].groupby(["panel", "kernel", "seed"])[["svm_test_error"]].mean().reset_index()
    found = [{**key, **_error(group, "svm_test_error")} for key, group in _groups(start, ["panel", "kernel"])]
    return pd.DataFrame(found, columns=["panel", "kernel", *columns(None)])


def changes(rows: pd.DataFrame) -> pd.DataFrame:
    """All that was measured at initialisation and at the last snapshot, by panel, learning rate and kernel, over seeds.

    Columns: panel, learning_rate, kernel, measure, epochs (of the last snapshots, as text), final (whether these end
    their runs), n_lower (runs in which the measure fell), then before_, after_ and change_ with mean, standard_error,
    ci95_low, ci95_high, n_seeds. Where some runs have both ends recorded, only these count. The change is taken seed by
    seed, so its error is that of the paired difference.
    """
    import pandas as pd

    terms = measured(rows)
    names = [term.name for term in terms]
    found = []
    for key, group in _groups(with_floats(rows, [*KEYS, "kernel", "epoch", "last", "seed", "final"], names), _CELL):
        start, end = (part.set_index("seed") for part in (group[group["epoch"] == 0], group[group["last"]]))
        both = start.index.intersection(end.index)
        if len(both):
            start, end = start.loc[both], end.loc[both]
        epochs = [fmt.epochs(epoch) for epoch in sorted(set(end["epoch"]))]
        text = "" if not epochs else epochs[0] if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
        final = bool(len(end)) and bool(end["final"].all())
        sides = (start[names], end[names], end[names] - start[names])
        before, after, differences = map(by_column, sides)
        for term in terms:
            first, last = (mean_over_seeds(side[term.name], term.bounds) for side in (before, after))
            if first is None and last is None:
                continue
            difference = differences[term.name]
            found.append(
                {
                    **key,
                    "measure": term.name,
                    "epochs": text,
                    "final": final,
                    "n_lower": sum(one < 0 for one in difference),
                    **columns(first, "before_"),
                    **columns(last, "after_"),
                    **columns(mean_over_seeds(difference), "change_"),
                }
            )
    return pd.DataFrame(found)


def health(rows: pd.DataFrame) -> pd.DataFrame:
    """How the SVMs ended, by panel, learning rate, kernel and stage, over seeds; with the largest of the gaps."""

    def names(column: pd.Series[str]) -> str:
        return ", ".join(sorted(set(column)))

    return _aggregated(
        at_stages(rows, with_losses=True),
        [*KEYS, "kernel", "stage", "epoch"],
        svm_backend=("svm_backend", names),
        svm_path=("svm_path", names),
        svm_intercept=("svm_intercept", "any"),
        n=("seed", "size"),
        n_converged=("converged", "sum"),
        n_separable=("separable", "sum"),
        n_separable_unknown=("separable", lambda column: column.isna().sum()),
        largest_gap=("gap", "max"),
        mean_margin=("margin", "mean"),
        mean_train_error=("svm_train_error", "mean"),
        fewest_support=("n_support", "min"),
        most_support=("n_support", "max"),
    )


def costs(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean seconds per snapshot by panel and kernel, their sum over all snapshots, and the peak memory."""
    return _aggregated(
        rows.assign(total=rows[TIMES].sum(axis=1)),
        ["panel", "kernel"],
        n=("seed", "size"),
        **{f"mean_{name}": (name, "mean") for name in TIMES},
        total_wall_s=("total", "sum"),
        largest_peak_bytes=("peak_bytes", "max"),
    )


def networks(rows: pd.DataFrame, axis: str = "epoch") -> pd.DataFrame:
    """The networks at their last snapshot, by panel and learning rate, over seeds; without what is not known."""
    import pandas as pd

    found = []
    names = [name for name in [*NETWORK_SIZES, *NETWORK_NUMBERS] if name != "epoch" or axis == "epoch"]
    for key, group in _groups(rows[rows["last"]].drop_duplicates([*KEYS, "seed"]), KEYS):
        row: dict[str, Any] = {**key, "n_seeds": len(group)}
        for name in names:
            if group[name].isna().any():
                continue
            if group[name].dtype.kind == "i":
                low, high = int(group[name].min()), int(group[name].max())
                row[name] = str(low) if low == high else f"{low} to {high}"
            else:
                row[f"mean_{name}"] = float(group[name].mean())
        found.append(row)
    return pd.DataFrame(found)


def with_floats(rows: pd.DataFrame, keys: list[str], names: list[str]) -> pd.DataFrame:
    """These columns alone, those of `names` as floats with NaN: dividing and reading all columns takes long."""
    import pandas as pd

    values = rows[names].to_numpy(dtype="float64", na_value=float("nan"))
    return pd.concat([rows[keys], pd.DataFrame(values, rows.index, names)], axis="columns")


def by_column(numbers: pd.DataFrame) -> dict[str, list[float]]:
    """The columns of a data frame of floats as lists."""
    return dict(zip(numbers.columns, numbers.to_numpy().T.tolist(), strict=True))


def _aggregated(rows: pd.DataFrame, keys: list[str], **columns: Any) -> pd.DataFrame:
    table: pd.DataFrame = rows.groupby(keys, sort=True).agg(**columns).reset_index()
    return table


def _groups(rows: pd.DataFrame, keys: list[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    for values, group in rows.groupby(keys, sort=True):
        yield dict(zip(keys, values, strict=True)), group


def _error(group: pd.DataFrame, column: str) -> dict[str, float | int | None]:
    return columns(mean_over_seeds(group[column], BY_NAME[column].bounds))
