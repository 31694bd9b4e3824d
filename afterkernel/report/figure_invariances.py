"""Figure: invariances at initialisation and at the last snapshot, joined by a line for each learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.kernel_kinds import describe
from afterkernel.report import style
from afterkernel.report.table_data import INVARIANCES, kernel_order

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {"shift": "shift", "rotation": "rotation", "zoom": "zoom", "swap": "swap\n(lower = more global)"}
_GAP = 0.9  # Room between transforms, in rows of a learning rate.


def measured(changes: pd.DataFrame) -> pd.DataFrame:
    """Of the `changes` of one evaluation those of invariances that were measured: what there is to draw."""
    some = changes["before_n_seeds"] + changes["after_n_seeds"] > 0
    return changes[changes["measure"].str.endswith("_invariance") & some]


def draw(table: pd.DataFrame, rates: list[float]) -> Figure:
    """The figure of a table of `measured`; `rates` are all learning rates of the section, so that looks agree."""
    panels = sorted(table["panel"].unique())
    kernels = kernel_order(table["kernel"])
    names = [name for name in INVARIANCES if f"{name}_invariance" in set(table["measure"])]
    styles = style.rate_styles(rates)
    height = max(len(names) * (len(styles) + _GAP) * 0.17, 1.6)
    with style.drawing():
        figure = style.new_figure(4.9 * len(kernels) + 1.2, (height + 0.2) * len(panels) + 1.3)
        grid: Any = figure.subplots(len(panels), len(kernels), squeeze=False, sharex=True, sharey=True)
        for axes_row, panel in zip(grid, panels, strict=True):
            for axes, kernel in zip(axes_row, kernels, strict=True):
                part = table[(table["panel"] == panel) & (table["kernel"] == kernel)]
                _dumbbells(axes, part, names, styles)
            axes_row[0].set_ylabel(" ")
            style.row_label(axes_row[0], panel)
        for axes, kernel in zip(grid[0], kernels, strict=True):
            axes.set_title(describe(kernel).title, loc="left", fontweight="bold", color=style.INK)
        for axes in grid[-1]:
            axes.set_xlabel("invariance (mean cosine; 1 = unchanged)")
        _legend(figure, styles, several=bool((table["after_n_seeds"] > 1).any()))
    return figure


def _dumbbells(axes: Axes, table: pd.DataFrame, names: list[str], styles: dict[float, dict[str, Any]]) -> None:
    step = len(styles) + _GAP
    for place in range(1, len(names)):
        axes.axhline(place * step - (1 + _GAP) / 2, color=style.LIGHT, linewidth=1)
    order = {f"{name}_invariance": place * step for place, name in enumerate(names)}
    for offset, (rate, look) in enumerate(styles.items()):
        part = table[(table["learning_rate"] == rate) & table["measure"].isin(list(order))]
        if len(part):
            _rate(axes, part, part["measure"].map(order).to_numpy(dtype=float) + offset, look)
    axes.set_yticks(
        [place * step + (len(styles) - 1) / 2 for place in range(len(names))], [LABELS[name] for name in names]
    )
    axes.set_ylim(len(names) * step - (1 + _GAP) / 2, -(1 + _GAP) / 2)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _rate(axes: Axes, part: pd.DataFrame, heights: Any, look: dict[str, Any]) -> None:
    """The dumbbells of one learning rate; what is missing is not drawn."""
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


def _legend(figure: Figure, styles: dict[float, dict[str, Any]], *, several: bool) -> None:
    from matplotlib.lines import Line2D

    look: dict[str, Any] = {"color": style.GREY, "marker": "o", "linestyle": ""}
    others: list[Any] = [
        Line2D([], [], markerfacecolor="white", label="at initialisation (open)", **look),
        Line2D([], [], label="at the last snapshot (filled)", **look),
    ]
    if several:
        others.append(style.bar_handle())
    rates = [
        Line2D([], [], label=f"learning rate {fmt.general(rate)}", linestyle="", **shape)
        for rate, shape in styles.items()
    ]
    style.legend(figure, rates, others)
