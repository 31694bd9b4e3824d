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
# Ticks of scales on which 0 and orders of magnitude have room, as far apart as their labels need.
_NICE = [0.0, *(digit * 10.0**power for power in range(-3, 8) for digit in (1, 2, 5))]
# The interval of a row as text, and the filter of the rates that `rate_switch` shows.
INTERVAL = "isValid(datum.low) ? format(datum.low, '.4~g') + ' to ' + format(datum.high, '.4~g') : '\N{EN DASH}'"
SHOWN: Any = {"param": "rates", "empty": False}


def config(theme: str, n_rates: int) -> dict[str, Any]:
    """The Vega-Lite configuration of a theme of THEMES, for a figure with so many learning rates."""
    colours = _COLOURS[theme]
    ink, soft = colours["ink"], colours["soft"]
    return {
        "background": "transparent",
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
            **{"symbolSize": 70, "symbolOpacity": 1, "columnPadding": 16},
        },
        "title": {"anchor": "start", "color": ink, "fontSize": 12, "offset": 8},
        "header": {
            **{"labelColor": ink, "labelFontSize": 12, "labelAnchor": "start", "labelLimit": 900, "title": None},
            **{"labelPadding": 6, "labelFontWeight": "bold"},
        },
        "headerRow": {"labelFontSize": 14, "labelAnchor": "middle", "labelPadding": 12},
        "style": {
            "open": {"fill": colours["page"], "strokeWidth": 1.6},
            "ink": {"color": ink},
            "seed": {"color": soft},
            "region": {"color": colours["region"], "opacity": 0.1},
        },
    }


def page_colour(theme: str) -> str:
    """The colour of the page on which a theme is read."""
    return str(_COLOURS[theme]["page"])


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


def zoom(*axes: Any) -> alt.Parameter:
    """Zooming with Ctrl and the wheel, moving by dragging; a double click resets."""
    import altair as alt

    return alt.selection_interval("zoom", bind="scales", encodings=list(axes), zoom="wheel![event.ctrlKey]")


def grid(
    layers: Sequence[alt.Chart],
    frame: pd.DataFrame,
    size: tuple[int, int],
    params: Sequence[alt.Parameter],
    **facet: Any,
) -> alt.FacetChart:
    """Panels of the same layers and size, each of the rows of `frame` that its facet has."""
    import altair as alt

    panel = alt.layer(*layers, width=size[0], height=size[1]).add_params(*params)
    options: Any = {"spacing": {"row": 26, "column": 22}} | facet
    return panel.facet(data=csv_data(frame), usermeta={"rates": frame["rate"].nunique()}, **options)


def csv_data(frame: pd.DataFrame) -> alt.InlineData:
    """A data frame as the inline data of a chart: as CSV, which is a third of the size of JSON."""
    import altair as alt

    parse: Any = {name: "number" if frame[name].dtype.kind in "if" else "string" for name in map(str, frame.columns)}
    values = frame.to_csv(index=False, lineterminator="\n")
    return alt.InlineData(values=values, format=alt.CsvDataFormat(type="csv", parse=parse))


def panel_titles(width: int, before: str, after: str) -> alt.Header:
    """Titles of panels, broken between `before` and `after` where they are wider than a panel."""
    import altair as alt

    broken = f"split(replace(datum.label, '{before} {after}', '{before}\\n{after}'), '\\n')"
    return alt.Header(labelExpr=f"length(datum.label) > {int(width / 7)} ? {broken} : datum.label")


def curve_frame(table: pd.DataFrame, scale: pd.Series[float] | float, keys: Sequence[str]) -> pd.DataFrame:
    """The data of `curves`: means and intervals times `scale`, and which means are over fewer seeds than others.

    Lines are those of `keys` and a learning rate. `dodge` moves the marks of learning rates apart, in pixels.
    """
    rates = sorted(set(table["learning_rate"]))
    fullest = table.groupby([*keys, "learning_rate"])["n_seeds"].transform("max")
    frame = table[[*keys, "epoch"]].assign(
        rate=table["learning_rate"].map(rate_label),
        mean=table["mean"].astype("float64") * scale,
        low=table["ci95_low"].astype("float64") * scale,
        high=table["ci95_high"].astype("float64") * scale,
        n=table["n_seeds"].astype(int),
        fewer=(table["n_seeds"] < fullest).astype(int),
        dodge=[4.0 * (rates.index(rate) - (len(rates) - 1) / 2) for rate in table["learning_rate"]],
    )
    return frame.sort_values([*keys, "rate", "epoch"], kind="stable", ignore_index=True)


def cut_bars(frame: pd.DataFrame, keys: str) -> pd.DataFrame:
    """With columns `bar_low` and `bar_high`: bars as far as one range of the means of each panel beyond them.

    An interval over two seeds may be many times as wide as all that is of interest.
    """
    means = frame.groupby(keys)["mean"]
    low, high = means.transform("min"), means.transform("max")
    span = (high - low).where(high > low, high.abs() * 0.1 + 1e-12)
    return frame.assign(bar_low=frame["low"].clip(lower=low - span), bar_high=frame["high"].clip(upper=high + span))


def curves(
    axis: str, x: alt.X, y_scale: alt.Scale, y_axis: alt.Axis, labels: Sequence[str], measure: Sequence[alt.Tooltip]
) -> list[alt.Chart]:
    """Layers of the rows of `cut_bars`: bars, a line for each rate, and points; those over fewer seeds are open.

    `axis` names what `x` shows, and `measure` are the tooltip's entries for the mean.
    """
    import altair as alt

    y = alt.Y("mean:Q", scale=y_scale, axis=y_axis)
    look = rate_encodings(labels)
    dodge: Any = alt.expr("datum.dodge")
    rows = alt.Chart().transform_filter(SHOWN).mark_point()
    seen = [
        alt.Tooltip("rate:O", title="learning rate"),
        alt.Tooltip("epoch:Q", title=axis, format=".4~g"),
        *measure,
        alt.Tooltip("interval:N", title="95 % interval over seeds"),
        alt.Tooltip("n:Q", title="seeds"),
    ]
    points = rows.transform_calculate(interval=INTERVAL).encode(x, y, **look, tooltip=seen)
    full, fewer = "datum.fewer == 0", "datum.fewer == 1"
    return [
        rows.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=1.3, opacity=0.75, xOffset=dodge, clip=True)
        .encode(x, y=alt.Y("bar_low:Q", scale=y_scale, axis=y_axis), y2="bar_high:Q", color=look["color"]),
        rows.transform_filter(full)
        .mark_line(strokeWidth=1.8, xOffset=dodge, clip=True)
        .encode(x, y, color=look["color"]),
        points.transform_filter(full).mark_point(filled=True, size=42, opacity=1, xOffset=dodge, clip=True),
        points.transform_filter(fewer).mark_point(style="open", size=42, opacity=1, xOffset=dodge, clip=True),
    ]


def epoch_x(axis: str, epochs: Iterable[float], width: int) -> alt.X:
    """A logarithmic axis of epochs that includes 0: log(1 + epoch)."""
    import altair as alt

    last = max(epochs) or 1.0
    return alt.X(
        "epoch:Q",
        scale=alt.Scale(type="symlog", constant=1, domain=[0, last], nice=False, padding=10),
        axis=alt.Axis(values=nice_ticks(last, width, 24), format=".4~g", grid=False, title=log_title(axis)),
    )


def log_title(name: str) -> str:
    """The title of an axis that has room for 0 and orders of magnitude."""
    return f"{name}, scale log(1 + x)"


def nice_ticks(last: float, length: float, gap: float) -> list[float]:
    """0 and round numbers up to `last` that are `gap` pixels apart on a scale of log(1 + value) of this length."""
    ticks = [0.0]
    for tick in reversed([tick for tick in _NICE[1:] if tick <= last]):
        places = [abs(math.log1p(tick) - math.log1p(other)) / math.log1p(last) * length for other in ticks]
        if min(places) > gap:
            ticks.append(tick)
    return sorted(ticks)


def loss_x(losses: Iterable[float], title: str) -> alt.X:
    """A logarithmic axis of training losses that falls to the right, as in training, with a tick at most losses."""
    import altair as alt

    places = sorted(set(losses))
    return alt.X(
        "epoch:Q",
        scale=alt.Scale(type="log", domain=[places[-1], places[0]], nice=False, padding=10),
        axis=alt.Axis(values=places[:: 1 + len(places) // 5], format=".3~g", grid=False, title=title),
    )
