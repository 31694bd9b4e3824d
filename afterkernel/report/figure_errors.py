"""Figure: test error against epochs, one row per architecture, one column per kernel and one for the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel import text as fmt
from afterkernel.kernel_kinds import describe
from afterkernel.report import style
from afterkernel.report.table_data import errors_at_start
from afterkernel.report.terms import NETWORK, kernel_order

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

_WIDTH, _HEIGHT, _WIDEST = 960, 190, 290
_KEYS = ["panel", "kernel"]


def frame(errors: pd.DataFrame) -> pd.DataFrame:
    """The data of the figure, in percent: an untrained network is left out, since it is wrong on about half."""
    return style.curve_frame(errors[(errors["kernel"] != NETWORK) | (errors["epoch"] > 0)], 100.0, _KEYS)


def draw(rows: pd.DataFrame, errors: pd.DataFrame, axis: str = "epoch") -> alt.VConcatChart:
    """The figure for the rows of one evaluation group and their `errors_by_epoch`.

    Lines are means over seeds, bars Student's 95 % intervals. Panels of a row share their scale; the network has its
    own where its errors would flatten the kernels' curves.
    """
    import altair as alt

    table, start = frame(errors), errors_at_start(rows)
    labels = style.rate_labels(rows["learning_rate"])
    kernels, epochs = kernel_order(errors["kernel"]), sorted({float(epoch) for epoch in errors["epoch"]})
    width = min(_WIDTH // len(kernels) - 40, _WIDEST)
    panels = sorted(rows["panel"].unique())
    found = []
    for place, panel in enumerate(panels):
        of_row = table[table["panel"] == panel]
        limits = style.limits(of_row[of_row["kernel"] != NETWORK], zero=True)
        own = style.limits(of_row[of_row["kernel"] == NETWORK], zero=True) if (of_row["kernel"] == NETWORK).any() else limits
        apart = own[1] > 1.8 * limits[1]
        shared = limits if apart else max(limits, own)
        charts = []
        for kernel in kernels:
            title = "The network itself" if kernel == NETWORK else describe(kernel).title
            if apart and kernel == NETWORK:
                title += " (its own scale)"
            first = start[(start["panel"] == panel) & (start["kernel"] == kernel)]["mean"].dropna()
            dashed = [
                alt.Chart(alt.InlineData(values=[{"start": 100 * float(mean)}]))
                .mark_rule(strokeDash=[5, 3], strokeWidth=1.2, style="ink")
                .encode(y="start:Q")
                for mean in first
            ]
            layers = style.curve_layers(
                f"datum.panel == {panel!r} && datum.kernel == {kernel!r}",
                style.epoch_x(axis, epochs, width, title=place == len(panels) - 1),
                own if apart and kernel == NETWORK else shared,
                labels,
                (axis, "test error (%)"),
                log=False,
            )
            if kernel == kernels[0]:
                layers = [layer.encode(y=layer.encoding.y.copy()) for layer in layers]
            name = f"zoom_{place}_{kernels.index(kernel)}"
            chart = alt.layer(*dashed, *layers).add_params(style.zoom(name))
            found_title = alt.Title(style.lines(title, 34))
            charts.append(chart.properties(width=width, height=_HEIGHT, title=found_title))
        found.append(alt.hconcat(*charts, title=alt.Title(panel, style="row"), spacing=24))
    figure = alt.vconcat(*found, data=style.csv_data(table, [*_KEYS, "rate"]), spacing=28)
    return figure.add_params(style.rate_switch(labels)).properties(usermeta={"rates": len(labels)})


def result(changes: pd.DataFrame) -> str:
    """What the figure shows, in words: where the after kernel's error is below the NTK's, of a table of `changes`."""
    errors = changes[changes["measure"] == "svm_test_error"].dropna(subset=["before_mean", "after_mean"])
    if errors.empty:
        return "Test errors at one end of training only."
    found = []
    for panel, rows in errors[errors["kernel"] == kernel_order(errors["kernel"])[0]].groupby("panel", sort=True):
        before, after = rows["before_mean"].astype(float), rows["after_mean"].astype(float)
        best = after.idxmin()
        kernel = describe(rows["kernel"].iloc[0])
        found.append(
            f"{panel}, {kernel.title}: test error after training is below that at initialisation at "
            f"{int((after < before).sum())} of {fmt.plural(len(rows), 'learning rate')}: {fmt.percent(after[best])} % "
            f"against {fmt.percent(before[best])} % at rate {style.rate_label(rows['learning_rate'][best])}."
        )
    return " ".join(found)
