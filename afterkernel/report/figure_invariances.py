"""Figure: invariances at initialisation and at the last snapshot, joined by a line for each learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from afterkernel.kernel_kinds import describe
from afterkernel.report import style
from afterkernel.report.terms import kernel_order, terms_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GAP = 0.9  # Space between transforms, in rows of a learning rate.


def invariance_changes(changes: pd.DataFrame) -> pd.DataFrame:
    """The `changes` of invariances."""
    return changes[[term.topic == "invariance" for term in terms_of(changes["measure"])]]


def draw(table: pd.DataFrame, rates: list[float]) -> Figure:
    """The figure of `invariance_changes`; `rates` are all learning rates of the section, for consistent colours."""
    from matplotlib.lines import Line2D

    panels = sorted(table["panel"].unique())
    kernels = kernel_order(table["kernel"])
    labels = {term.name: _transform_name(term.short) for term in terms_of(table["measure"].unique())}
    styles = style.rate_styles(rates)
    height = max(len(labels) * (len(styles) + _GAP) * 0.17, 1.6)
    with style.figure_style():
        figure = style.new_figure(4.9 * len(kernels) + 1.2, (height + 0.2) * len(panels) + 1.3)
        grid: Any = figure.subplots(len(panels), len(kernels), squeeze=False, sharex=True, sharey=True)
        for axes_row, panel in zip(grid, panels, strict=True):
            for axes, kernel in zip(axes_row, kernels, strict=True):
                part = table[(table["panel"] == panel) & (table["kernel"] == kernel)]
                _draw_dumbbells(axes, part, labels, styles)
            axes_row[0].set_ylabel(" ")
            style.row_label(axes_row[0], panel)
        for axes, kernel in zip(grid[0], kernels, strict=True):
            axes.set_title(describe(kernel).title, loc="left", fontweight="bold", color=style.INK)
        for axes in grid[-1]:
            axes.set_xlabel("invariance (mean cosine; 1 = unchanged)")
        look: dict[str, Any] = {"color": style.GREY, "marker": "o", "linestyle": ""}
        others: list[Any] = [
            Line2D([], [], markerfacecolor="white", label="at initialisation (open)", **look),
            Line2D([], [], label="at the last snapshot (filled)", **look),
            *style.bar_handles(table, "after_n_seeds"),
        ]
        style.legend(figure, style.rate_handles(styles, linestyle=""), others)
    return figure


def _transform_name(label: str) -> str:
    """The name of a transform: the figure's axis says that its numbers are invariances."""
    return style.two_lines(label.replace("invariance under ", "").replace(" invariance", ""), 20)


def _draw_dumbbells(
    axes: Axes, table: pd.DataFrame, labels: dict[str, str], styles: dict[float, dict[str, Any]]
) -> None:
    step = len(styles) + _GAP
    for place in range(1, len(labels)):
        axes.axhline(place * step - (1 + _GAP) / 2, color=style.LIGHT, linewidth=1)
    order = {name: place * step for place, name in enumerate(labels)}
    for offset, (rate, look) in enumerate(styles.items()):
        part = table[table["learning_rate"] == rate]
        if len(part):
            _draw_rate(axes, part, part["measure"].map(order).to_numpy(dtype=float) + offset, look)
    axes.set_yticks([place + (len(styles) - 1) / 2 for place in order.values()], list(labels.values()))
    axes.set_ylim(len(labels) * step - (1 + _GAP) / 2, -(1 + _GAP) / 2)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _draw_rate(axes: Axes, part: pd.DataFrame, heights: Any, look: dict[str, Any]) -> None:
    """Draw the dumbbells of one learning rate at the y positions `heights`; missing values are not drawn."""
    color, marker = look["color"], look["marker"]
    ends = {}
    for when, face in (("before", "white"), ("after", color)):
        mean = part[f"{when}_mean"].to_numpy(dtype=float, na_value=float("nan"))
        error = part[f"{when}_standard_error"].to_numpy(dtype=float, na_value=0.0)
        axes.hlines(heights, mean - error, mean + error, color=color, linewidth=1)
        axes.plot(mean, heights, marker, color=color, markerfacecolor=face, zorder=3)
        ends[when] = mean
    for before, after, height in zip(ends["before"], ends["after"], heights, strict=True):
        axes.plot([before, after], [height, height], color=color, linewidth=2.2, alpha=0.45, solid_capstyle="butt")
