"""The look of all figures: themes for light and dark pages, axes, marks by learning rate, and the legend."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.report.sections import NO_RATE

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

# vl-convert carries this font, and the others have the same metrics: images are the same on every machine.
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
# Colours have a contrast of at least 3:1 with the page, those of text 4.5:1. Learning rates run along a ramp whose
# lightness is monotone, so that it is readable without colour vision; outcomes are shown to hold, not to, and open.
_COLOURS: dict[str, dict[str, Any]] = {
    "light": {
        "page": "#ffffff",
        "ink": "#1f2328",
        "soft": "#57606a",
        "grid": "#e4e8ec",
        "region": "#0072b2",
        "ramp": ("#1d2f7c", "#a8328f", "#e2582a"),
        "outcomes": ("#0072b2", "#c65300", "#6b7280"),
    },
    "dark": {
        "page": "#0d1117",
        "ink": "#e6edf3",
        "soft": "#a3adb8",
        "grid": "#2b323a",
        "region": "#56b4e9",
        "ramp": ("#6c8cff", "#e07fd0", "#ffc46b"),
        "outcomes": ("#56b4e9", "#f0914a", "#a3adb8"),
    },
}
THEMES = tuple(_COLOURS)
_TICK_GAP_PX = 26


def config(theme: str, n_rates: int) -> dict[str, Any]:
    """The Vega-Lite configuration of a theme of THEMES, for a figure with so many learning rates."""
    colours = _COLOURS[theme]
    ink, soft = colours["ink"], colours["soft"]
    return {
        "background": None,
        "font": FONT,
        "view": {"stroke": None},
        "range": {"ordinal": ramp(theme, n_rates), "category": list(colours["outcomes"])},
        "axis": {
            **{"gridColor": colours["grid"], "domainColor": soft, "tickColor": soft, "tickSize": 4},
            **{"labelColor": ink, "labelFontSize": 11.5, "titleColor": ink, "titleFontSize": 12},
            **{"titleFontWeight": "normal", "titlePadding": 6, "labelOverlap": True},
        },
        "axisY": {"domain": False, "ticks": False, "minExtent": 32, "labelPadding": 5},
        "legend": {
            **{"orient": "top", "direction": "horizontal", "titleOrient": "left", "titleColor": ink, "offset": 14},
            **{"labelColor": ink, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"},
            **{"symbolSize": 70, "symbolStrokeWidth": 2, "columnPadding": 16},
        },
        "title": {"anchor": "start", "color": ink, "fontSize": 12.5, "offset": 8, "subtitleColor": soft},
        "style": {
            "row": {"fontSize": 14, "fontWeight": "bold"},
            "open": {"fill": colours["page"], "strokeWidth": 1.6},
            "ink": {"stroke": ink},
            "soft": {"stroke": soft},
            "region": {"fill": colours["region"], "opacity": 0.1},
        },
    }


def ramp(theme: str, n: int) -> list[str]:
    """So many colours along the ramp of a theme, from its first to its last."""
    stops = [[int(text[place : place + 2], 16) for place in (1, 3, 5)] for text in _COLOURS[theme]["ramp"]]
    found = []
    for index in range(n):
        at = index / max(n - 1, 1) * (len(stops) - 1)
        left = min(int(at), len(stops) - 2)
        parts = zip(stops[left], stops[left + 1], strict=True)
        found.append("#" + "".join(f"{round(a + (b - a) * (at - left)):02x}" for a, b in parts))
    return found


def rate_label(rate: float) -> str:
    """A learning rate as figures name it."""
    return "not recorded" if rate == NO_RATE else fmt.general(rate)


def rate_labels(rates: Iterable[float]) -> list[str]:
    """The labels of learning rates, in their order."""
    return [rate_label(rate) for rate in sorted(set(rates))]


def rate_encodings(labels: Sequence[str]) -> dict[str, Any]:
    """Colour and shape of marks by the column `rate`, with one legend for both."""
    import altair as alt

    shapes = [SHAPES[index % len(SHAPES)] for index in range(len(labels))]
    legend = alt.Legend(title="learning rate")
    return {
        "color": alt.Color("rate:O", scale=alt.Scale(domain=list(labels)), legend=legend),
        "shape": alt.Shape("rate:O", scale=alt.Scale(domain=list(labels), range=shapes), legend=legend),
    }


def rate_switch(labels: Sequence[str]) -> alt.Parameter:
    """The learning rates that are shown: a click on one in the legend hides it or shows it again."""
    import altair as alt

    shown = [{"rate": label} for label in labels]
    return alt.selection_point(
        "rates", fields=["rate"], bind="legend", toggle="true", clear=False, value=shown, empty=False
    )


def zoom(name: str, *, x: bool = True, y: bool = True) -> alt.Parameter:
    """Zooming with Ctrl and the wheel, moving by dragging; a double click resets."""
    import altair as alt

    encodings: Any = [axis for axis, wanted in (("x", x), ("y", y)) if wanted]
    return alt.selection_interval(name, bind="scales", encodings=encodings, zoom="wheel![event.ctrlKey]")


def csv_data(frame: pd.DataFrame, texts: Iterable[str]) -> alt.Data:
    """A data frame as the inline data of a chart, as CSV, which is a third of the size of JSON."""
    import altair as alt

    parse: Any = {name: "string" if name in set(texts) else "number" for name in map(str, frame.columns)}
    return alt.InlineData(
        values=frame.to_csv(index=False, lineterminator="\n"), format=alt.CsvDataFormat(type="csv", parse=parse)
    )


def curve_frame(table: pd.DataFrame, scale: pd.Series[float] | float, keys: Sequence[str]) -> pd.DataFrame:
    """The data of `curve_layers`: means and intervals times `scale`, and which means are over fewer seeds.

    Lines are those of `keys` and a learning rate. `dodge` moves the marks of learning rates apart, in pixels.
    """
    rates = sorted(set(table["learning_rate"]))
    fullest = table.groupby([*keys, "learning_rate"])["n_seeds"].transform("max")
    frame = table[[*keys, "epoch"]].assign(
        rate=table["learning_rate"].map(rate_label),
        mean=table["mean"].astype("float64") * scale,
        low=table["ci95_low"].astype("float64") * scale,
        high=table["ci95_high"].astype("float64") * scale,
        n=table["n_seeds"],
        fewer=(table["n_seeds"] < fullest).astype(int),
        dodge=[4.0 * (rates.index(rate) - (len(rates) - 1) / 2) for rate in table["learning_rate"]],
    )
    return frame.sort_values([*keys, "rate", "epoch"], kind="stable", ignore_index=True)


def curve_layers(
    where: str, x: alt.X, limits: tuple[float, float], labels: Sequence[str], names: tuple[str, str], *, log: bool
) -> list[alt.Chart]:
    """The layers of one panel, of the rows of `curve_frame` that meet `where`: bars, a line per rate, and points.

    `names` are those of the axis and of the measure, with its unit. Means over fewer seeds are open and not joined.
    """
    import altair as alt

    y_scale = alt.Scale(type="log" if log else "linear", domain=list(limits), nice=False, zero=False, clamp=False)
    y = alt.Y("mean:Q", scale=y_scale, title=None, axis=alt.Axis(tickCount=4, format="~g"))
    look = rate_encodings(labels)
    dodge: Any = alt.expr("datum.dodge")
    rows = alt.Chart().transform_filter(where).transform_filter(SHOWN)
    seen = [
        alt.Tooltip("rate:O", title="learning rate"),
        alt.Tooltip("epoch:Q", title=names[0], format=".4~g"),
        alt.Tooltip("mean:Q", title=names[1], format=".4~g"),
        alt.Tooltip("interval:N", title="95 % interval over seeds"),
        alt.Tooltip("n:Q", title="seeds"),
    ]
    points = rows.transform_calculate(interval=INTERVAL).encode(x, y, **look, tooltip=seen)
    full, fewer = "datum.fewer == 0", "datum.fewer == 1"
    return [
        rows.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=1.3, opacity=0.75, xOffset=dodge, clip=True)
        .encode(x, y=alt.Y("low:Q", scale=y_scale, title=None), y2="high:Q", color=look["color"]),
        rows.transform_filter(full)
        .mark_line(strokeWidth=1.8, xOffset=dodge, clip=True)
        .encode(x, y, color=look["color"]),
        points.transform_filter(full).mark_point(filled=True, size=42, opacity=1, xOffset=dodge, clip=True),
        points.transform_filter(fewer).mark_point(style="open", size=42, opacity=1, xOffset=dodge, clip=True),
    ]


# The filter of the rates that `rate_switch` shows, and the interval of a row as text.
SHOWN: Any = {"param": "rates", "empty": False}
INTERVAL = "isValid(datum.low) ? format(datum.low, '.4~g') + ' to ' + format(datum.high, '.4~g') : '\N{EN DASH}'"


def epoch_x(axis: str, epochs: Sequence[float], width: int, *, title: bool = True) -> alt.X:
    """A logarithmic axis of epochs that includes 0: log(1 + epoch), with ticks at snapshots that have room."""
    import altair as alt

    last = float(epochs[-1]) or 1.0
    ticks: list[float] = []
    for epoch in [epochs[0], *reversed(epochs[1:])]:
        gaps = [abs(math.log1p(epoch) - math.log1p(tick)) / math.log1p(last) * width for tick in ticks]
        if all(gap > _TICK_GAP_PX for gap in gaps):
            ticks.append(float(epoch))
    return alt.X(
        "epoch:Q",
        scale=alt.Scale(type="symlog", constant=1, domain=[0, last], nice=False, padding=10),
        axis=alt.Axis(values=sorted(ticks), format=".3~g", grid=False, title=epoch_label(axis) if title else None),
    )


def epoch_label(axis: str) -> str:
    """The title of the axis `epoch_x`."""
    return f"{axis}, on the scale log(1 + {axis})"


def loss_x(losses: Sequence[float], title: str | None) -> alt.X:
    """A logarithmic axis of training losses that falls to the right, as in training, with a tick at most losses."""
    import altair as alt

    ticks = sorted(losses)[:: 1 + len(losses) // 5]
    return alt.X(
        "epoch:Q",
        scale=alt.Scale(type="log", domain=[max(losses), min(losses)], nice=False, padding=10),
        axis=alt.Axis(values=ticks, format=".3~g", grid=False, title=title),
    )


def limits(table: pd.DataFrame, *, zero: bool = False, log: bool = False) -> tuple[float, float]:
    """The range of a y axis for the columns mean, low and high: all means, and bars as far as one range of the means.

    With `zero` it begins there. An interval over two seeds may be many times as wide as all that is of interest.
    """
    means = table["mean"].dropna()
    ends = [means.min(), means.max()]
    lows, highs = table["low"].fillna(table["mean"]), table["high"].fillna(table["mean"])
    outer = [lows.min(), highs.max()]
    if log:
        outer[0] = max(outer[0], ends[0] / 10)
        ends, outer = [math.log(one) for one in ends], [math.log(one) for one in outer]
    span = ends[1] - ends[0] or 0.1 * abs(ends[1]) or 0.1
    low, high = max(outer[0], ends[0] - span), min(outer[1], ends[1] + span)
    if zero:
        low, high = 0.0, min(outer[1], 1.7 * ends[1])
    room = 0.06 * (high - low or span)
    low, high = low if zero else low - room, high + room
    return (math.exp(low), math.exp(high)) if log else (float(low), float(high) or 0.1)


def lines(label: str, width: int = 36) -> list[str]:
    """A label that is longer than `width` on two lines, broken before its bracket if possible."""
    import textwrap

    before, bracket, inside = label.partition(" (")
    if bracket and len(label) > width >= len(before):
        return [before, f"({inside}"]
    return [label] if len(label) <= width else textwrap.wrap(label, max(width // 2, len(label) // 2 + 4))
