"""The look of all figures: themes for light and dark pages, axes, marks by learning rate, and the legend.

Charts are Vega-Lite as plain JSON: building them from altair's classes, which copy every part at each step, took a
fifth of the time of a large report. Tests validate them by altair's schema.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.report.sections import NO_RATE

if TYPE_CHECKING:
    import pandas as pd

# A chart or a part of one: JSON.
Spec = dict[str, Any]
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
# The interval of a row as text, and the filter of the rates that the legend of a `grid` shows.
INTERVAL = "isValid(datum.low) ? format(datum.low, '.4~g') + ' to ' + format(datum.high, '.4~g') : '\N{EN DASH}'"
SHOWN = {"filter": "indexof(rates, datum.rate) >= 0"}


def config(theme: str, n_rates: int) -> dict[str, Any]:
    """The Vega-Lite configuration of a theme of THEMES, for a figure with so many learning rates."""
    colours = _COLOURS[theme]
    ink, soft = colours["ink"], colours["soft"]
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "range": {"category": ramp(theme, n_rates) if n_rates else list(colours["outcomes"])},
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


def quantity(field: str, **options: Any) -> Spec:
    """An encoding of a numeric column."""
    return {"field": field, "type": "quantitative", **options}


def nominal(field: str, **options: Any) -> Spec:
    """An encoding of a column of names."""
    return {"field": field, "type": "nominal", **options}


def layer(mark: Spec, transforms: Sequence[Spec], **encoding: Any) -> Spec:
    """A layer of a chart: marks of the rows that the transforms leave."""
    return {"transform": list(transforms), "mark": mark, "encoding": encoding}


def rate_encodings(labels: Sequence[str]) -> Spec:
    """Colour and shape of marks by the column `rate`, with one legend for both."""
    shapes = [SHAPES[index % len(SHAPES)] for index in range(len(labels))]
    hidden = {"expr": "indexof(rates, datum.value) < 0 ? 0.3 : 1"}
    legend = {"title": "learning rate", "symbolOpacity": hidden, "labelOpacity": hidden}
    return {
        "color": nominal("rate", scale={"domain": list(labels)}, legend=legend),
        "shape": nominal("rate", scale={"domain": list(labels), "range": shapes}, legend=legend),
    }


def grid(
    layers: Sequence[Spec], frame: pd.DataFrame, size: tuple[int, int], labels: Sequence[str], axes: str, **facet: Any
) -> Spec:
    """Panels of the same layers and size, each of the rows of `frame` that its facet has.

    `labels` are the learning rates that are shown; figures.js changes them at a click on the legend: a selection that
    is bound to the legend would do, but Vega-Lite's has no effect in facets. Ctrl and the wheel zoom into the `axes`,
    dragging moves, and a double click resets.
    """
    select = {"type": "interval", "encodings": list(axes), "zoom": "wheel![event.ctrlKey]"}
    zoomed = layers[0] | {"params": [{"name": "zoom", "bind": "scales", "select": select}]}
    panel = {"width": size[0], "height": size[1], "layer": [zoomed, *layers[1:]]}
    rates = {"name": "rates", "value": list(labels)}
    spacing = {"row": 26, "column": 22}
    return chart(frame, frame["rate"].nunique(), **({"params": [rates], "spacing": spacing} | facet), spec=panel)


def chart(frame: pd.DataFrame, n_rates: int, **views: Any) -> Spec:
    """A chart of a data frame, in which so many learning rates have colours.

    Data are CSV, which is a third of the size of JSON.
    """
    parse = {name: "number" if frame[name].dtype.kind in "if" else "string" for name in map(str, frame.columns)}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "usermeta": {"rates": n_rates},
        **views,
        "data": {
            "values": frame.to_csv(index=False, lineterminator="\n"),
            "format": {"type": "csv", "parse": parse},
        },
    }


def panel_titles(width: int, before: str, after: str) -> Spec:
    """Titles of panels, broken between `before` and `after` where they are wider than a panel."""
    broken = f"split(replace(datum.label, '{before} {after}', '{before}\\n{after}'), '\\n')"
    return {"labelExpr": f"length(datum.label) > {int(width / 7)} ? {broken} : datum.label"}


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
    axis: str, x: Spec, y_scale: Spec, y_axis: Spec, labels: Sequence[str], measure: Sequence[Spec]
) -> list[Spec]:
    """Layers of the rows of `cut_bars`: bars, a line for each rate, and points; those over fewer seeds are open.

    `axis` names what `x` shows, and `measure` are the tooltip's entries for the mean.
    """
    y = quantity("mean", scale=y_scale, axis=y_axis)
    look = rate_encodings(labels)
    color, placed = look["color"], {"xOffset": {"expr": "datum.dodge"}, "clip": True}
    seen = [
        nominal("rate", title="learning rate"),
        quantity("epoch", title=axis, format=".4~g"),
        *measure,
        nominal("interval", title="95 % interval over seeds"),
        quantity("n", title="seeds"),
    ]
    bars, full, fewer = ({"filter": which} for which in ("isValid(datum.low)", "datum.fewer == 0", "datum.fewer == 1"))
    point = {"type": "point", "size": 42, "opacity": 1, **placed}
    interval = {"calculate": INTERVAL, "as": "interval"}
    low = quantity("bar_low", scale=y_scale, axis=y_axis)
    rule = {"type": "rule", "strokeWidth": 1.3, "opacity": 0.75, **placed}
    return [
        layer(rule, [SHOWN, bars], x=x, y=low, y2={"field": "bar_high"}, color=color),
        layer({"type": "line", "strokeWidth": 1.8, **placed}, [SHOWN, full], x=x, y=y, color=color),
        layer({**point, "filled": True}, [SHOWN, interval, full], x=x, y=y, **look, tooltip=seen),
        layer({**point, "style": "open"}, [SHOWN, interval, fewer], x=x, y=y, **look, tooltip=seen),
    ]


def epoch_x(axis: str, epochs: Iterable[float], width: int) -> Spec:
    """A logarithmic axis of epochs that includes 0: log(1 + epoch)."""
    last = max(epochs) or 1.0
    return quantity(
        "epoch",
        scale={"type": "symlog", "constant": 1, "domain": [0, last], "nice": False, "padding": 10},
        axis={"values": nice_ticks(last, width, 24), "format": ".4~g", "grid": False, "title": log_title(axis)},
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


def loss_x(losses: Iterable[float], title: str) -> Spec:
    """A logarithmic axis of training losses that falls to the right, as in training, with a tick at most losses."""
    places = sorted(set(losses))
    return quantity(
        "epoch",
        scale={"type": "log", "domain": [places[-1], places[0]], "nice": False, "padding": 10},
        axis={"values": places[:: 1 + len(places) // 5], "format": ".3~g", "grid": False, "title": title},
    )
