"""Figure: test error against epochs, one row per architecture, one column per kernel and one for the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from afterkernel.kernel_kinds import describe
from afterkernel.report import style
from afterkernel.report.sections import KEYS
from afterkernel.report.table_data import errors_at_start
from afterkernel.report.terms import NETWORK, kernel_order

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_START: dict[str, Any] = {"color": style.INK, "linestyle": (0, (5, 3)), "linewidth": 1.2}


def draw(rows: pd.DataFrame, errors: pd.DataFrame, axis: str = "epoch") -> Figure:
    """The figure for the rows of one evaluation group and their `errors_by_epoch`.

    Lines are means over seeds, bars one standard error to each side.
    """
    from matplotlib.lines import Line2D

    start = errors_at_start(rows)
    panels = sorted(rows["panel"].unique())
    columns = kernel_order(errors["kernel"])
    styles = style.rate_styles([float(rate) for rate in rows["learning_rate"].unique()])
    with style.figure_style():
        figure = style.new_figure(3.6 * len(columns) + 0.6, 2.75 * len(panels) + 1.0)
        grid: Any = figure.subplots(len(panels), len(columns), squeeze=False, sharex=True)
        for axes_row, panel in zip(grid, panels, strict=True):
            for axes, kernel in zip(axes_row, columns, strict=True):
                style.epoch_axis(axes, sorted({float(epoch) for epoch in errors["epoch"]}))
                part = errors[(errors["panel"] == panel) & (errors["kernel"] == kernel)]
                if kernel == NETWORK:
                    part = part[part["epoch"] > 0]  # An untrained network is wrong on about half of the images.
                style.curves(axes, part, 100.0, styles)
                first = start[(start["panel"] == panel) & (start["kernel"] == kernel)]
                _draw_start(axes, first)
            _set_limits(axes_row, columns)
            axes_row[0].set_ylabel("test error (%)")
            style.row_label(axes_row[0], panel)
        for axes, kernel in zip(grid[0], columns, strict=True):
            title = "The network itself" if kernel == NETWORK else describe(kernel).title
            axes.set_title(title.replace(" → ", " →\n"), loc="left", fontweight="bold", color=style.INK)
        for axes in grid[-1]:
            axes.set_xlabel(style.epoch_label(axis))
        figure.align_ylabels(grid[:, 0])
        start_line = Line2D([], [], label="kernel at initialisation", **_START)
        others = [start_line, *style.bar_handles(errors), *style.open_handles(errors, [*KEYS, "kernel"])]
        style.legend(figure, style.rate_handles(styles), others)
    return figure


def _draw_start(axes: Axes, start: pd.DataFrame) -> None:
    if len(start):
        axes.axhline(100 * float(start["mean"].iloc[0]), **_START)


def _set_limits(axes_row: Sequence[Axes], columns: Sequence[str]) -> None:
    # One scale per row. The network gets its own where its errors would flatten the kernels' curves.
    # The margin of matplotlib is a fraction of the data's range, which may be zero.
    tops = {name: 1.05 * axes.get_ylim()[1] for axes, name in zip(axes_row, columns, strict=True)}
    kernels = max((top for name, top in tops.items() if name != NETWORK), default=0.1)
    apart = tops.get(NETWORK, 0.0) > 1.8 * kernels
    shared = kernels if apart else max(kernels, *tops.values())
    for place, (axes, name) in enumerate(zip(axes_row, columns, strict=True)):
        own = apart and name == NETWORK
        axes.set_ylim(0, max(tops[name] if own else shared, 0.1))
        axes.tick_params(axis="y", labelleft=own or place == 0)
        if own:
            axes.text(0.98, 0.97, "its own scale", transform=axes.transAxes, ha="right", va="top", color=style.GREY)
