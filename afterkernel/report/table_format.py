"""Data frames as tables of text for the page: the text of each cell, and which rows need attention."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.kernel_kinds import describe
from afterkernel.report.summary import percent_spread
from afterkernel.report.table_data import INVARIANCES, NETWORK, TABLE_MEASURES, kernel_rank

if TYPE_CHECKING:
    import pandas as pd


def kernel_label(name: str) -> str:
    """A kernel's name in tables; the network's own errors are a column of the same tables."""
    return "network itself" if name == NETWORK else describe(name).label


@dataclasses.dataclass(frozen=True)
class Row:
    """Cells, each one or two lines of text; `alert` marks a row that failed or is not done."""

    cells: list[tuple[str, str]]
    alert: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the page. The first `n_keys` columns say what a row is; `long` ones are folded away at first.

    `files` hold it as well, named relative to the page.
    """

    title: str
    note: str
    headings: Sequence[str]
    rows: list[Row]
    n_keys: int
    long: bool = False
    files: Sequence[str] = ()

    @property
    def n_alerts(self) -> int:
        """Rows that need attention."""
        return sum(row.alert for row in self.rows)


def error_table(table: pd.DataFrame, decimals: int) -> Table:
    """Test errors, a column an epoch, the number of seeds and the confidence interval under each mean."""
    epochs = sorted(table["epoch"].unique())
    rows = []
    for (panel, rate, kernel), group in _groups(table):
        at = {row["epoch"]: row for _, row in group.iterrows()}
        cells = [
            (percent_spread(at[e], "", decimals), _below(at[e], decimals)) if e in at else ("", "") for e in epochs
        ]
        rows.append(((panel, rate, kernel_rank(kernel)), _keys(panel, fmt.general(rate), kernel_label(kernel)) + cells))
    return Table(
        title="Test error (%)",
        note="Mean ± standard error over seeds; below it Student's 95 % confidence interval, cut off at 0 and 100 %, "
        "and the number of seeds. "
        "NTK / AK and CK: of the SVM on that kernel, epoch 0 being the initialisation. A gap: not recorded.",
        headings=["network", "learning rate", "of", *(f"epoch {epoch}" for epoch in epochs)],
        rows=[Row(cells) for _, cells in sorted(rows, key=lambda pair: pair[0])],
        n_keys=3,
    )


def change_table(table: pd.DataFrame, decimals: int) -> Table:
    """Each measure before and after training; the change, paired run by run, below."""
    rows = []
    for (panel, rate, kernel), group in _groups(table):
        by = {row["measure"]: row for _, row in group.iterrows()}
        cells = [_change(by[measure], measure, decimals) for measure in TABLE_MEASURES]
        first = by[TABLE_MEASURES[0]]
        when = first["epochs"] or fmt.MISSING
        when = when if first["final"] or not first["epochs"] else f"{when} (not ended)"
        n_runs = max(first["before_n_seeds"], first["after_n_seeds"])
        keys = _keys(panel, fmt.general(rate), kernel_label(kernel), when, str(int(n_runs)))
        rows.append(((panel, rate, kernel_rank(kernel)), keys + cells))
    return Table(
        title="Before and after: from initialisation to the last snapshot",
        note="Means over seeds; below, the mean change ± standard error, taken run by run over the runs "
        "that have both. Invariances are mean "
        "cosines: 1 means unchanged. Swap is read the other way: lower is more global.",
        headings=[
            *("network", "learning rate", "kernel", "last epoch", "runs", "SVM test error (%)"),
            *(name + (" (lower = more global)" if name == "swap" else "") for name in INVARIANCES),
            "effective rank",
        ],
        rows=[Row(cells) for _, cells in sorted(rows, key=lambda pair: pair[0])],
        n_keys=5,
    )


def health_table(table: pd.DataFrame) -> Table:
    """How the SVMs ended; rows with one that did not converge are marked."""
    rows = []
    for row in _records(table):
        unknown = f", {row['n_separable_unknown']} unknown" if row["n_separable_unknown"] else ""
        support = sorted({row["fewest_support"], row["most_support"]})
        cells = [
            *(row["panel"], fmt.general(row["learning_rate"]), kernel_label(row["kernel"]), str(row["epoch"])),
            row["svm_backend"] + (" with intercept" if row["svm_intercept"] else ""),
            row["svm_path"],
            f"{row['n_converged']} of {row['n']}",
            f"{row['n_separable']} of {row['n']}{unknown}",
            *(fmt.scientific(row["largest_gap"]), fmt.significant(row["mean_margin"])),
            *(" to ".join(map(fmt.count, support)), fmt.percent(row["mean_train_error"])),
        ]
        rows.append(Row(_keys(*cells), alert=row["n_converged"] < row["n"]))
    headings = ["network", "learning rate", "kernel", "epoch", "backend", "path", "converged", "separable"]
    headings += ["largest gap", "mean margin", "support vectors", "training error (%)"]
    note = (
        "The gap is the relative duality gap, certified apart from the solver; margins are of the normalised "
        "embedding. Rows with an SVM that did not converge are marked and come first."
    )
    rows.sort(key=lambda row: not row.alert)
    return Table("Health of the SVMs", note, headings, rows, 4, long=len(rows) > 12)


def cost_table(table: pd.DataFrame) -> Table:
    """Mean seconds a snapshot and the largest peak of memory."""
    rows = [
        Row(
            _keys(
                *(row["panel"], kernel_label(row["kernel"]), str(row["n"])),
                *(fmt.seconds(row[f"mean_wall_s_{name}"]) for name in ("kernel", "svm", "measures")),
                *(fmt.seconds(row["total_wall_s"]), fmt.size(row["largest_peak_bytes"])),
            )
        )
        for row in _records(table)
    ]
    headings = ["network", "kernel", "evaluated", "kernel (s)", "SVM (s)", "measures (s)", "all together (s)"]
    note = "Wall time, mean of a snapshot, and its sum over all; the peak is that of the process up to then."
    return Table("Costs", note, [*headings, "peak memory"], rows, 2)


def network_table(table: pd.DataFrame, decimals: int) -> Table:
    """The networks at their last snapshot."""
    rows = [
        Row(
            _keys(
                *(row["panel"], fmt.general(row["learning_rate"]), str(row["n_seeds"])),
                *(_thousands(row[name]) for name in ("width", "parameters", "n_train", "n_test", "epoch", "step")),
                fmt.significant(row["mean_train_loss"]),
                fmt.percent(row["mean_net_train_error"], decimals),
                fmt.percent(row["mean_net_test_error"], decimals),
            )
        )
        for row in _records(table)
    ]
    headings = ["network", "learning rate", "seeds", "width", "parameters", "training images", "test images"]
    headings += ["last epoch", "last step", "training loss", "training error (%)", "test error (%)"]
    return Table("Networks at their last snapshot", "Means over seeds.", headings, rows, 2)


def _change(row: Any, measure: str, decimals: int) -> tuple[str, str]:
    def form(value: Any) -> str:
        if measure == "svm_test_error":
            return fmt.percent(value, decimals)
        return fmt.fixed(value) if measure == "effective_rank" else fmt.cosine(value)

    if row["before_n_seeds"] + row["after_n_seeds"] == 0:
        return fmt.MISSING, ""
    both = f"{form(row['before_mean'])} → {form(row['after_mean'])}"
    if row["change_n_seeds"] == 0:
        return both, ""
    change = fmt.signed(form(row["change_mean"]), row["change_mean"])
    return both, fmt.spread(change, form(row["change_standard_error"]))


def _below(row: Any, decimals: int) -> str:
    seeds = f"n = {int(row['n_seeds'])}"
    if fmt.is_missing(row["ci95_low"]):
        return seeds
    return f"[{fmt.percent(row['ci95_low'], decimals)}, {fmt.percent(row['ci95_high'], decimals)}], {seeds}"


def _groups(table: pd.DataFrame) -> Iterable[tuple[tuple[str, float, str], pd.DataFrame]]:
    for (panel, rate, kernel), group in table.groupby(["panel", "learning_rate", "kernel"], sort=False):
        yield (str(panel), float(str(rate)), str(kernel)), group


def _keys(*texts: str) -> list[tuple[str, str]]:
    return [(text, "") for text in texts]


def _thousands(text: str) -> str:
    return " to ".join(fmt.count(part) for part in text.split(" to "))


def _records(table: pd.DataFrame) -> Iterable[dict[str, Any]]:
    order = [name for name in ("panel", "learning_rate", "kernel", "epoch") if name in table.columns]
    rows: list[dict[str, Any]] = [{str(name): row[name] for name in row} for row in table.to_dict("records")]
    return sorted(rows, key=lambda row: [kernel_rank(row[name]) if name == "kernel" else row[name] for name in order])
