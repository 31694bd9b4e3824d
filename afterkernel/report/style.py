"""The style of all figures: colours and markers of learning rates, font sizes, legends, and how figures are saved."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from afterkernel import text as fmt
from afterkernel.report.sections import NO_RATE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, LIGHT = "#222222", "#6b7280", "#e5e7eb"
_MARKERS = "osD^vPX*<>"
_DPI = 150
_LONG = re.compile(rb"(\d\.\d{2})\d+")
_SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "svg.fonttype": "none",  # Text stays text: a third of the size, and it can be searched.
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT,
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.7,
    "lines.markersize": 5.5,
    "svg.hashsalt": "afterkernel",
}


@contextmanager
def figure_style() -> Iterator[None]:
    """The matplotlib settings of all figures, within a `with` block."""
    import matplotlib

    with matplotlib.rc_context(_SETTINGS):
        yield


def rate_styles(rates: Sequence[float]) -> dict[float, dict[str, Any]]:
    """Colour and marker of each learning rate: small rates dark, large ones bright; markers differ too."""
    from matplotlib import colormaps

    ordered = sorted(rates)
    scale = [index / max(len(ordered) - 1, 1) for index in range(len(ordered))]
    # The yellow end of the map is invisible on white.
    return {
        rate: {"color": colormaps["viridis"](0.05 + 0.75 * place), "marker": _MARKERS[index % len(_MARKERS)]}
        for index, (rate, place) in enumerate(zip(ordered, scale, strict=True))
    }


def epoch_label(axis: str) -> str:
    """The label of an axis that `epoch_axis` has set up."""
    return f"{axis} (log(1 + {axis}), from 0)"


def epoch_axis(axes: Axes, epochs: Sequence[float], gap: float = 0.08) -> None:
    """A logarithmic axis of epochs that includes 0: log(1 + epoch), with ticks at snapshots at least `gap` apart."""
    import numpy as np
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("function", functions=(np.log1p, np.expm1))
    span = float(np.log1p(epochs[-1])) or 1.0
    ticks: list[float] = []
    for epoch in [epochs[0], *reversed(epochs[1:])]:
        if all(abs(np.log1p(epoch) - np.log1p(tick)) > gap * span for tick in ticks):
            ticks.append(epoch)
    axes.xaxis.set_major_locator(FixedLocator(sorted(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}" if value % 1 else fmt.plain(value))


def loss_axis(axes: Axes, losses: Sequence[float]) -> None:
    """A logarithmic axis of training losses that falls to the right, as in training, with a tick at most losses."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(1.15 * max(losses), min(losses) / 1.15)
    axes.xaxis.set_major_locator(FixedLocator(sorted(losses)[:: 1 + len(losses) // 5]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: fmt.general(value))


def curves(axes: Axes, table: pd.DataFrame, scale: float, styles: dict[float, dict[str, Any]], **sizes: Any) -> None:
    """Means against epochs by learning rate, with bars of one standard error to each side.

    A line joins the means over all seeds; means over fewer seeds are open markers. `table` has one row per learning
    rate and epoch, with learning_rate, epoch, mean, standard_error and n_seeds.
    """
    import numpy as np

    of_rate = dict(iter(table.sort_values("epoch").groupby("learning_rate")))
    for rate, look in styles.items():
        if rate not in of_rate:
            continue
        part, color, marker = of_rate[rate], look["color"], look["marker"]
        epoch, mean = part["epoch"].to_numpy(), scale * part["mean"].to_numpy(dtype=float)
        error = scale * part["standard_error"].to_numpy(dtype=float, na_value=0.0)
        whole = (part["n_seeds"] == part["n_seeds"].max()).to_numpy()
        if error.any():
            # One line with gaps for all bars: one artist per bar would take most of the drawing time.
            ends = np.stack([mean - error, mean + error, np.full_like(mean, np.nan)], axis=1).ravel()
            axes.plot(np.repeat(epoch, 3), ends, color=color, linewidth=1.2, solid_capstyle="butt", zorder=1)
        axes.plot(epoch[whole], mean[whole], f"{marker}-", color=color, **sizes)
        if not whole.all():
            axes.plot(epoch[~whole], mean[~whole], marker, color=color, markerfacecolor="white", zorder=3, **sizes)


def rate_handles(styles: dict[float, dict[str, Any]], **options: Any) -> list[Artist]:
    """The legend entries of learning rates."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], label=_rate_label(rate), **look, **options) for rate, look in styles.items()]


def _rate_label(rate: float) -> str:
    return "learning rate not recorded" if rate == NO_RATE else f"learning rate {fmt.general(rate)}"


def bar_handles(table: pd.DataFrame, column: str = "n_seeds") -> list[Artist]:
    """The legend entry of error bars, if any mean is over several seeds."""
    from matplotlib.lines import Line2D

    label = "bar: ± standard error over seeds"
    several = bool((table[column] > 1).any())
    return [Line2D([], [], color=GREY, linestyle="", marker="|", markersize=9, label=label)] if several else []


def open_handles(table: pd.DataFrame, keys: Sequence[str]) -> list[Artist]:
    """The legend entry of open markers, if any mean of these keys is over fewer seeds than another."""
    from matplotlib.lines import Line2D

    fewer = bool((table["n_seeds"] < table.groupby(list(keys))["n_seeds"].transform("max")).any())
    look: Any = {"color": GREY, "marker": "o", "markerfacecolor": "white", "linestyle": ""}
    return [Line2D([], [], label="open: fewer seeds", **look)] if fewer else []


def two_lines(label: str, width: int = 36) -> str:
    """A label that is longer than `width`, broken before its bracket if possible."""
    import textwrap

    before, bracket, inside = label.partition(" (")
    if bracket and len(label) > width >= len(before):
        return f"{before}\n({inside}"
    return label if len(label) <= width else "\n".join(textwrap.wrap(label, max(width // 2, len(label) // 2 + 4)))


def new_figure(width_in: float, height_in: float, layout: str | None = "constrained") -> Figure:
    """An empty figure on the Agg canvas, sizes in inches; with `layout=None` the caller places the axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), dpi=_DPI, layout=cast(Any, layout))
    FigureCanvasAgg(figure)
    return figure


def row_label(axes: Axes, text: str) -> None:
    """A bold label for a row of panels, to the left of its y label; long labels are wrapped."""
    import textwrap

    axes.annotate(
        "\n".join(textwrap.wrap(text, 34)),
        xy=(0, 0.5),
        xycoords=axes.yaxis.label,
        xytext=(-6, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        rotation=90,
        fontsize=10.5,
        fontweight="bold",
        color=INK,
    )


def legend(
    figure: Figure, rates: Sequence[Artist], others: Sequence[Artist], place: Any = "outside lower center"
) -> None:
    """One legend below all panels: learning rates in the first rows, the rest in the last."""
    from matplotlib.lines import Line2D

    if len(rates) + len(others) <= 4:
        rates, others = [*rates, *others], []
    n_columns = max(math.ceil(len(rates) / math.ceil(len(rates) / 5)), len(others))
    rows = [list(rates[first : first + n_columns]) for first in range(0, len(rates), n_columns)] + (
        [list(others)] if others else []
    )
    blank = Line2D([], [], linestyle="", label=" ")
    full = [row + [blank] * (n_columns - len(row)) for row in rows]
    # A legend fills its columns first.
    figure.legend(
        handles=[row[column] for column in range(n_columns) for row in full],
        loc=place,
        ncols=n_columns,
    )


def render(figure: Figure, kind: str) -> bytes:
    """The figure as "png" or "svg"; the same bytes for the same figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from PIL import Image

    buffer = io.BytesIO()
    with figure_style():
        if (engine := figure.get_layout_engine()) is not None:
            engine.execute(figure)
            figure.set_layout_engine("none")  # The layout is done.
        # Not savefig, which would draw the figure twice.
        if kind == "svg":
            FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]
        else:
            canvas: Any = FigureCanvasAgg(figure)
            canvas.draw()
            # The figure is opaque and has few colours: a palette makes the file a third of its size.
            image = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")
            image = image.quantize(128, dither=Image.Dither.NONE)
            image.save(buffer, "png", compress_level=6, dpi=(figure.dpi, figure.dpi))
    # Digits below a hundredth of a point are invisible and would be a third of the file.
    return buffer.getvalue() if kind == "png" else _LONG.sub(rb"\1", buffer.getvalue())
