"""Figure: the trajectory of a kernel: everything measured of it against epochs, one line per learning rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from afterkernel.records.record import SHARE
from afterkernel.report import style
from afterkernel.report.stages import at_losses, at_stages
from afterkernel.report.terms import heading, measured, terms_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LOSS = "training loss"
_COLUMNS = 4
_ROW_IN, _BELOW_IN = 2.1, 0.85
_TABLE = ["measure", "learning_rate", "epoch", "mean", "standard_error", "n_seeds"]


def trajectory(rows: pd.DataFrame) -> pd.DataFrame:
    """All that was measured, by learning rate and epoch, over seeds: mean, standard_error, n_seeds, as fractions.

    `rows` are those of one panel and kernel; the last snapshots are one stage (see `stages`).
    """
    import pandas as pd

    names = [term.name for term in measured(rows)]
    rows = at_stages(rows)
    grouped = rows[names].astype("float64").groupby([rows["learning_rate"], rows["epoch"]])
    by_name = {"mean": grouped.mean(), "standard_error": grouped.sem(), "n_seeds": grouped.count()}
    parts = [pd.DataFrame({key: table[name] for key, table in by_name.items()}).assign(measure=name) for name in names]
    table = pd.concat(parts).reset_index() if parts else pd.DataFrame(columns=_TABLE)
    return table.loc[table["n_seeds"] > 0, _TABLE].reset_index(drop=True)


def against_losses(rows: pd.DataFrame) -> pd.DataFrame:
    """All that was measured at the chosen training losses, in the columns of `trajectory`; `epoch` is the loss."""
    if not any(map(len, rows["losses"])):
        return at_losses(rows.iloc[:0], [])
    return at_losses(rows, [term.name for term in measured(rows)])


def draw(table: pd.DataFrame, rates: list[float], axis: str = "epoch") -> Figure:
    """The figure of a table of `trajectory`; `rates` are all learning rates of the section, for consistent colours.

    With `axis` LOSS that of `against_losses`.
    """
    terms = terms_of(table["measure"].unique())
    n_rows = math.ceil(len(terms) / _COLUMNS)
    epochs = sorted({float(epoch) for epoch in table["epoch"]})
    styles = style.rate_styles(rates)
    with style.figure_style():
        # Placed by hand: the automatic layout of so many panels takes longer than drawing them.
        height = _ROW_IN * n_rows + _BELOW_IN
        figure = style.new_figure(11.0, height, layout=None)
        figure.subplots_adjust(0.053, (_BELOW_IN + 0.1) / height, 0.995, 1 - 0.42 / height, wspace=0.24, hspace=0.62)
        grid: Any = figure.subplots(n_rows, _COLUMNS, squeeze=False, sharex=True)
        flat = list(grid.flat)
        if axis == LOSS:
            style.loss_axis(flat[0], epochs)
        else:
            style.epoch_axis(flat[0], epochs, gap=0.17)
        for axes, term in zip(flat, terms, strict=False):
            part = table[table["measure"] == term.name]
            style.curves(axes, part, 100.0 if term.unit == SHARE else 1.0, styles, markersize=4, linewidth=1.4)
            axes.set_title(style.two_lines(heading(term), width=30), loc="left", y=1.0, color=style.INK, fontsize=9.5)
            axes.locator_params(axis="y", nbins=4)
        for place, axes in enumerate(flat):
            if place >= len(terms):
                axes.set_axis_off()
            elif place + _COLUMNS >= len(terms):
                axes.set_xlabel(axis)
                axes.tick_params(axis="x", labelbottom=True)
        drawn = {rate: styles[rate] for rate in styles if rate in set(table["learning_rate"])}
        others = [*style.bar_handles(table), *style.open_handles(table, ["measure", "learning_rate"])]
        style.legend(figure, style.rate_handles(drawn), others, "lower center")
    return figure
