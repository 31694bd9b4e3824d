"""Figure of a claim: every comparison with its interval, one panel per part, its claimed region shaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from afterkernel.claims import Comparison, ComparisonOutcome, Finding, PartFinding
from afterkernel.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW_IN, _PANEL_IN = 0.24, 0.95
# Blue, vermilion and grey of Okabe and Ito's palette; the shapes differ too.
_MARKERS: dict[ComparisonOutcome, dict[str, Any]] = {
    ComparisonOutcome.HOLDS: {"marker": "o", "color": "#0072B2", "markerfacecolor": "#0072B2"},
    ComparisonOutcome.FAILS: {"marker": "X", "color": "#D55E00", "markerfacecolor": "#D55E00"},
    ComparisonOutcome.OPEN: {"marker": "D", "color": style.GREY, "markerfacecolor": "white"},
}


def measured(finding: Finding) -> list[PartFinding]:
    """The parts for which anything was measured."""
    return [part for part in finding.parts if any(one.test.mean is not None for one in part.comparisons)]


def draw(parts: Sequence[PartFinding]) -> Figure:
    """The figure of the `measured` parts."""
    heights = [_PANEL_IN + _ROW_IN * sum(one.test.mean is not None for one in part.comparisons) for part in parts]
    with style.figure_style():
        figure = style.new_figure(8.4, sum(heights) + 0.4)
        grid: Any = figure.subplots(len(parts), 1, squeeze=False, height_ratios=heights)
        for (axes,), part in zip(grid, parts, strict=True):
            _draw_panel(axes, part)
        _legend(figure)
    return figure


def _draw_panel(axes: Axes, found: PartFinding) -> None:
    shown = [one for one in found.comparisons if one.test.mean is not None]
    for place, one in enumerate(shown):
        _draw_comparison(axes, one, place)
    axes.axvline(0, color=style.INK, linewidth=0.8)
    low, high = axes.get_xlim()
    region = found.part.region
    left, right = low if region.low is None else region.low, high if region.high is None else region.high
    if left < high and right > low:
        axes.axvspan(max(left, low), min(right, high), color="#0072B2", alpha=0.08, linewidth=0, zorder=0)
    axes.set_xlim(low, high)
    axes.set_yticks(range(len(shown)), [_label(one) for one in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(found.part.unit)
    sides = f": {' → '.join(found.part.sides)}" if any(found.part.sides) else ""
    title = f"{found.part.title[0].upper()}{found.part.title[1:]}{sides}"
    axes.set_title(title, loc="left", fontweight="bold", color=style.INK, fontsize=9.5)


def _label(one: Comparison) -> str:
    return ", ".join(filter(None, (one.sample.data, one.sample.network, one.sample.place)))


def _draw_comparison(axes: Axes, one: Comparison, place: int) -> None:
    marker = _MARKERS[one.outcome]
    mean, low, high = one.test.mean, one.test.low, one.test.high
    assert mean is not None
    if one.test.images_low is not None and one.test.images_high is not None:
        axes.plot([one.test.images_low, one.test.images_high], [place, place], color=marker["color"], linewidth=0.7)
    spread = None if low is None or high is None else [[mean - low], [high - mean]]
    axes.errorbar(mean, place, xerr=spread, **marker, linestyle="", elinewidth=1.4, capsize=3, markersize=6.5, zorder=3)


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Line2D([], [], linestyle="", label=one.value, **marker) for one, marker in _MARKERS.items()]
    style.legend(figure, handles, [Patch(color="#0072B2", alpha=0.15, linewidth=0, label="claimed region")])
