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


def draw(table: pd.DataFrame, rates: list[float]) -> alt.FacetChart:
    """The figure of `invariance_changes`; `rates` are all learning rates of the section, for consistent colours."""
    import altair as alt

    data, labels = frame(table), style.rate_labels(rates)
    kernels, transforms = kernel_order(table["kernel"]), list(dict.fromkeys(data["transform"]))
    titles = {kernel: describe(kernel).title for kernel in kernels}
    width = min(_WIDTH // len(kernels) - 20, _WIDEST)
    return style.grid(
        _layers(labels, transforms),
        data.assign(kernel=data["kernel"].map(titles)),
        (width, (len(labels) * _STEP + 10) * len(transforms)),
        [style.rate_switch(labels), style.zoom("x")],
        row=alt.Row("panel:N", sort=sorted(table["panel"].unique())),
        column=alt.Column("kernel:N", sort=list(titles.values()), header=style.panel_titles(width, "→", "")),
    )


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
                over = "mean over rates" if len(rows) > 1 else "mean"
                ends = f"{over} {fmt.cosine(before.mean())} to {fmt.cosine(after.mean())}"
                texts.append(f"{_transform_name(term.short)} falls at {steps} ({ends})")
        if texts:
            found.append(f"{panel}, {describe(kernel).title}: {'; '.join(texts)}.")
    return " ".join(found) or "Only one end of training is recorded."


def _transform_name(label: str) -> str:
    """The name of a transform: the figure's axis says that its numbers are invariances."""
    return label.replace("invariance under ", "").replace(" invariance", "")


def _layers(labels: list[str], transforms: list[str]) -> list[alt.Chart]:
    import altair as alt

    rows = alt.Chart().transform_filter(style.SHOWN).mark_point()
    look = style.rate_encodings(labels)
    scale = alt.Scale(zero=False, nice=False, padding=12)
    axis = alt.Axis(title="invariance (mean cosine)", format=".4~g", tickCount=5)
    place = {
        "y": alt.Y(
            "transform:N",
            title=None,
            scale=alt.Scale(domain=transforms, paddingInner=0.3, paddingOuter=0.15),
            axis=alt.Axis(grid=False, labelLimit=220, minExtent=0),
        ),
        "yOffset": alt.YOffset("rate:N", scale=alt.Scale(domain=labels)),
        "color": look["color"],
    }
    layers = [
        rows.mark_rule(strokeWidth=3.5, opacity=0.4).encode(
            x=alt.X("before:Q", scale=scale, axis=axis), x2="after:Q", **place
        )
    ]
    for when, title in (("before", "at initialisation"), ("after", "at the last snapshot")):
        bars = rows.transform_filter(f"isValid(datum.{when}_low)").mark_rule(strokeWidth=1.2)
        layers.append(bars.encode(x=alt.X(f"{when}_low:Q", scale=scale, axis=axis), x2=f"{when}_high:Q", **place))
        interval = style.INTERVAL.replace("datum.", f"datum.{when}_")
        seen = [
            alt.Tooltip("transform:N", title="transform"),
            alt.Tooltip("rate:N", title="learning rate"),
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
