"""Figure: test error against epochs, one row per architecture, one column per kernel and one for the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.kernel_kinds import describe
from afterkernel.report import style
from afterkernel.report.table_data import errors_at_start
from afterkernel.report.terms import NETWORK, kernel_order

if TYPE_CHECKING:
    import pandas as pd

_WIDTH, _HEIGHT, _WIDEST = 930, 180, 290
_ERROR = "test error (%)"


def frame(errors: pd.DataFrame) -> pd.DataFrame:
    """The data of the figure, in percent: an untrained network is left out, since it is wrong on about half."""
    shown = errors[(errors["kernel"] != NETWORK) | (errors["epoch"] > 0)]
    return style.curve_frame(shown, 100.0, ["panel", "kernel"])


def draw(rows: pd.DataFrame, errors: pd.DataFrame, axis: str = "epoch") -> style.Spec:
    """The figure for the rows of one evaluation group and their `errors_by_epoch`.

    Lines are means over seeds, bars Student's 95 % intervals; the dashed line is the kernel at initialisation. All
    panels share their scale.
    """
    import pandas as pd

    table = frame(errors).assign(bar_low=lambda one: one["low"], bar_high=lambda one: one["high"])
    start = errors_at_start(rows).dropna(subset=["mean"])
    dashed = start[["panel", "kernel"]].assign(start=100 * start["mean"].astype("float64"))
    kernels = kernel_order(errors["kernel"])
    titles = {name: "The network itself" if name == NETWORK else describe(name).title for name in kernels}
    both = pd.concat([table, dashed], ignore_index=True)
    both["kernel"] = both["kernel"].map(titles)
    width = min(_WIDTH // len(kernels) - 22, _WIDEST)
    top = 1.08 * max(table["bar_high"].fillna(table["mean"]).max(), dashed["start"].max(), 0.1)
    y_scale = {"type": "symlog", "constant": 1, "domain": [0, min(top, 100)], "nice": False}
    y_axis = {"values": style.nice_ticks(top, _HEIGHT, 16), "format": ".4~g", "title": style.log_title(_ERROR)}
    labels = style.rate_labels(rows["learning_rate"])
    error = [style.quantity("mean", title=_ERROR, format=".4~g"), style.nominal("kernel", title="of")]
    at_start = style.layer(
        {"type": "rule", "strokeDash": [5, 3], "strokeWidth": 1.2, "style": "ink"},
        [{"filter": "isValid(datum.start)"}],
        y=style.quantity("start", scale=y_scale, axis=y_axis),
        tooltip=[style.quantity("start", title=f"at initialisation: {_ERROR}", format=".4~g")],
    )
    column = style.nominal("kernel", sort=list(titles.values()), header=style.panel_titles(width, "→", ""))
    return style.grid(
        [at_start, *style.curves(axis, style.epoch_x(axis, errors["epoch"], width), y_scale, y_axis, labels, error)],
        both,
        (width, _HEIGHT),
        labels,
        "xy",
        facet={"row": style.nominal("panel", sort=sorted(rows["panel"].unique())), "column": column},
    )


def result(changes: pd.DataFrame) -> str:
    """What the figure shows, in words: where the after kernel's error is below the NTK's, of a table of `changes`."""
    errors = changes[changes["measure"] == "svm_test_error"].dropna(subset=["before_mean", "after_mean"])
    if errors.empty:
        return "Test errors at one end of training only."
    first = kernel_order(errors["kernel"])[0]
    names = describe(first).title.split(" → ")
    found = []
    for panel, rows in errors[errors["kernel"] == first].groupby("panel", sort=True):
        before, after = rows["before_mean"].astype(float), rows["after_mean"].astype(float)
        best: Any = rows.iloc[int(after.argmin())]
        found.append(
            f"{panel}: test error of the {names[-1]} after training is below that of the {names[0]} at initialisation "
            f"at {int((after < before).sum())} of {fmt.plural(len(rows), 'learning rate')}: "
            f"{fmt.percent(best['after_mean'])} % against {fmt.percent(best['before_mean'])} % at rate "
            f"{style.rate_label(best['learning_rate'])}."
        )
    return " ".join(found)
