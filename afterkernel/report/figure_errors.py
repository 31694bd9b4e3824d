"""Figure: test error against epochs, one row per architecture, one column per kernel and one for the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.kernel_kinds import describe
from afterkernel.report import style
from afterkernel.report.table_data import NETWORK, errors_at_start, kernel_order

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DASHES = (0, (5, 3))


def draw(rows: pd.DataFrame, errors: pd.DataFrame) -> Figure:
    """The figure for the rows of one evaluation and their `errors_by_epoch`.

    Lines are means over seeds, bars one standard error to each side.
    """
    start = errors_at_start(rows)
    panels = sorted(rows["panel"].unique())
    columns = kernel_order(errors["kernel"])
    styles = style.rate_styles([float(rate) for rate in rows["learning_rate"].unique()])
    with style.drawing():
        figure = style.new_figure(3.6 * len(columns) + 0.6, 2.75 * len(panels) + 1.0)
        grid: Any = figure.subplots(len(panels), len(columns), squeeze=False, sharex=True)
        for axes_row, panel in zip(grid, panels, strict=True):
            for axes, kernel in zip(axes_row, columns, strict=True):
                style.epoch_axis(axes, sorted({int(epoch) for epoch in rows["epoch"]}))
                part = errors[(errors["panel"] == panel) & (errors["kernel"] == kernel)]
                if kernel == NETWORK:
                    part = part[part["epoch"] > 0]  # An untrained network guesses: about half are wrong.
                style.curves(axes, part, 100.0, styles)
                first = start[(start["panel"] == panel) & (start["kernel"] == kernel)]
                _start(axes, first)
            _limits(axes_row, columns)
            axes_row[0].set_ylabel("test error (%)")
            style.row_label(axes_row[0], panel)
        for axes, kernel in zip(grid[0], columns, strict=True):
            title = "The network itself" if kernel == NETWORK else describe(kernel).title
            axes.set_title(title.replace(" → ", " →\n"), loc="left", fontweight="bold", color=style.INK)
        for axes in grid[-1]:
            axes.set_xlabel(style.EPOCH_LABEL)
        figure.align_ylabels(grid[:, 0])
        _legend(figure, styles, several=bool((errors["n_seeds"] > 1).any()), fewer=_fewer(errors))
    return figure


def _start(axes: Axes, start: pd.DataFrame) -> None:
    if len(start):
        axes.axhline(100 * float(start["mean"].iloc[0]), color=style.INK, linestyle=_DASHES, linewidth=1.2)


def _limits(axes_row: Sequence[Axes], columns: Sequence[str]) -> None:
    # One scale for the row, which the network leaves where its errors would press those of the kernels flat.
    # The margin that matplotlib leaves is a part of the data's range, which may be nothing.
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


def _fewer(errors: pd.DataFrame) -> bool:
    most = errors.groupby(["panel", "learning_rate", "kernel"])["n_seeds"].transform("max")
    return bool((errors["n_seeds"] < most).any())


def _legend(figure: Figure, styles: dict[float, dict[str, Any]], *, several: bool, fewer: bool) -> None:
    from matplotlib.lines import Line2D

    rates = [Line2D([], [], label=f"learning rate {fmt.general(rate)}", **look) for rate, look in styles.items()]
    start: dict[str, Any] = {"color": style.INK, "linestyle": _DASHES, "linewidth": 1.2}
    others: list[Any] = [Line2D([], [], label="kernel at initialisation", **start)]
    if several:
        others.append(style.bar_handle())
    if fewer:
        others.append(style.open_handle())
    style.legend(figure, rates, others)
