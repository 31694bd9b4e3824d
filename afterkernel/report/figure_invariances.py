"""Figure: invariances at initialisation and at the last snapshot, joined by a line for each learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.kernel_kinds import describe
from afterkernel.report import style
from afterkernel.report.terms import kernel_order, terms_of

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

_WIDTH, _WIDEST, _STEP = 860, 380, 11
_TEXTS = ["panel", "kernel", "transform", "rate"]


def invariance_changes(changes: pd.DataFrame) -> pd.DataFrame:
    """The `changes` of invariances."""
    return changes[[term.topic == "invariance" for term in terms_of(changes["measure"])]]


def frame(table: pd.DataFrame) -> pd.DataFrame:
    """The data of the figure."""
    names = {term.name: _transform_name(term.short) for term in terms_of(table["measure"].unique())}
    ends = {
        f"{when}{short}": table[f"{when}_{long}"].astype("float64")
        for when in ("before", "after")
        for short, long in (("", "mean"), ("_low", "ci95_low"), ("_high", "ci95_high"), ("_n", "n_seeds"))
    }
    return table[["panel", "kernel"]].assign(
        transform=table["measure"].map(names), rate=table["learning_rate"].map(style.rate_label), **ends
    )


def draw(table: pd.DataFrame, rates: list[float]) -> alt.VConcatChart:
    """The figure of `invariance_changes`; `rates` are all learning rates of the section, for consistent colours."""
    import altair as alt

    data, labels = frame(table), style.rate_labels(rates)
    kernels, transforms = kernel_order(table["kernel"]), list(dict.fromkeys(data["transform"]))
    width = min(_WIDTH // len(kernels) - 20, _WIDEST)
    values = data[[name for name in data if str(name).startswith(("before", "after")) and "_n" not in str(name)]]
    low, high = float(values.min(axis=None)), float(values.max(axis=None))
    room = 0.04 * (high - low or 0.1)
    scale = alt.Scale(domain=[low - room, high + room], nice=False, zero=False)
    panels = sorted(table["panel"].unique())
    found = []
    for place, panel in enumerate(panels):
        charts = []
        for column, kernel in enumerate(kernels):
            axis = alt.Axis(title="invariance (mean cosine)" if place == len(panels) - 1 else None, format="~g", tickCount=5)
            y = alt.Y(
                "transform:N",
                sort=transforms,
                title=None,
                scale=alt.Scale(domain=transforms, paddingInner=0.3, paddingOuter=0.15),
                axis=alt.Axis(grid=False, labelLimit=220, labels=column == 0, tickBand="extent", minExtent=0),
            )
            chart = alt.layer(*_layers(f"datum.panel == {panel!r} && datum.kernel == {kernel!r}", scale, axis, y, labels))
            height = (len(labels) * _STEP + 10) * len(transforms)
            charts.append(chart.properties(width=width, height=height, title=describe(kernel).title))
        found.append(alt.hconcat(*charts, title=alt.Title(panel, style="row"), spacing=20))
    figure = alt.vconcat(*found, data=style.csv_data(data, _TEXTS), spacing=28)
    return figure.add_params(style.rate_switch(labels)).properties(usermeta={"rates": len(labels)})


def result(table: pd.DataFrame) -> str:
    """What the figure shows, in words: how many rates rise and fall, for the first kernel."""
    kernel = kernel_order(table["kernel"])[0]
    found = []
    for panel, of_panel in table[table["kernel"] == kernel].groupby("panel", sort=True):
        texts = []
        for term in terms_of(of_panel["measure"].unique()):
            rows = of_panel[of_panel["measure"] == term.name].dropna(subset=["before_mean", "after_mean"])
            if len(rows):
                before, after = rows["before_mean"].astype(float), rows["after_mean"].astype(float)
                steps = f"{int((after < before).sum())} of {fmt.plural(len(rows), 'rate')}"
                ends = f"mean {fmt.cosine(before.mean())} to {fmt.cosine(after.mean())}"
                texts.append(f"{_transform_name(term.short)} falls at {steps} ({ends})")
        if texts:
            found.append(f"{panel}, {describe(kernel).title}: {'; '.join(texts)}.")
    return " ".join(found) or "Only one end of training is recorded."


def _transform_name(label: str) -> str:
    """The name of a transform: the figure's axis says that its numbers are invariances."""
    return label.replace("invariance under ", "").replace(" invariance", "")


def _layers(where: str, scale: alt.Scale, axis: alt.Axis, y: alt.Y, labels: list[str]) -> list[Any]:
    import altair as alt

    rows = alt.Chart().transform_filter(where).transform_filter(style.SHOWN)
    look = style.rate_encodings(labels)
    offset = alt.YOffset("rate:O", scale=alt.Scale(domain=labels))
    place = {"y": y, "yOffset": offset, "color": look["color"]}
    layers: list[Any] = [
        rows.mark_rule(strokeWidth=3.5, opacity=0.4).encode(
            x=alt.X("before:Q", scale=scale, axis=axis), x2="after:Q", **place
        )
    ]
    for when, title in (("before", "at initialisation"), ("after", "at the last snapshot")):
        bars = rows.transform_filter(f"isValid(datum.{when}_low)").mark_rule(strokeWidth=1.2)
        layers.append(
            bars.encode(x=alt.X(f"{when}_low:Q", scale=scale, axis=axis), x2=f"{when}_high:Q", **place)
        )
        interval = style.INTERVAL.replace("datum.", f"datum.{when}_")
        seen = [
            alt.Tooltip("transform:N", title="transform"),
            alt.Tooltip("rate:O", title="learning rate"),
            alt.Tooltip(f"{when}:Q", title=f"invariance {title} (mean cosine)", format=".4~g"),
            alt.Tooltip("interval:N", title="95 % interval over seeds"),
            alt.Tooltip(f"{when}_n:Q", title="seeds"),
        ]
        mark: Any = {"style": "open"} if when == "before" else {"filled": True}
        layers.append(
            rows.transform_calculate(interval=interval)
            .mark_point(size=48, opacity=1, **mark)
            .encode(x=alt.X(f"{when}:Q", scale=scale, axis=axis), **place, shape=look["shape"], tooltip=seen)
        )
    return layers
