"""Figure: invariances at initialisation and at the last snapshot, joined by a line for each learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.kernel_kinds import describe
from afterkernel.report import style
from afterkernel.report.terms import kernel_order, terms_of

if TYPE_CHECKING:
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


def draw(table: pd.DataFrame, rates: list[float]) -> style.Spec:
    """The figure of `invariance_changes`; `rates` are all learning rates of the section, for consistent colours."""
    data, labels = frame(table), style.rate_labels(rates)
    kernels, transforms = kernel_order(table["kernel"]), list(dict.fromkeys(data["transform"]))
    titles = {kernel: describe(kernel).title for kernel in kernels}
    width = min(_WIDTH // len(kernels) - 20, _WIDEST)
    column = style.nominal("kernel", sort=list(titles.values()), header=style.panel_titles(width, "→", ""))
    return style.grid(
        _layers(labels, transforms),
        data.assign(kernel=data["kernel"].map(titles)),
        (width, (len(labels) * _STEP + 10) * len(transforms)),
        labels,
        "x",
        facet={"row": style.nominal("panel", sort=sorted(table["panel"].unique())), "column": column},
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


def _layers(labels: list[str], transforms: list[str]) -> list[style.Spec]:
    look = style.rate_encodings(labels)
    on_axis = {
        "scale": {"zero": False, "nice": False, "padding": 12},
        "axis": {"title": "invariance (mean cosine)", "format": ".4~g", "tickCount": 5},
    }
    place = {
        "y": style.nominal(
            "transform",
            title=None,
            scale={"domain": transforms, "paddingInner": 0.3, "paddingOuter": 0.15},
            axis={"grid": False, "labelLimit": 220, "minExtent": 0},
        ),
        "yOffset": style.nominal("rate", scale={"domain": labels}),
        "color": look["color"],
    }

    def rule(start: str, end: str, transforms: list[style.Spec], **mark: Any) -> style.Spec:
        x = style.quantity(start, **on_axis)
        return style.layer({"type": "rule", **mark}, [style.SHOWN, *transforms], x=x, x2={"field": end}, **place)

    layers = [rule("before", "after", [], strokeWidth=3.5, opacity=0.4)]
    for when, title in (("before", "at initialisation"), ("after", "at the last snapshot")):
        known = {"filter": f"isValid(datum.{when}_low)"}
        layers.append(rule(f"{when}_low", f"{when}_high", [known], strokeWidth=1.2))
        interval = {"calculate": style.INTERVAL.replace("datum.", f"datum.{when}_"), "as": "interval"}
        seen = [
            style.nominal("transform", title="transform"),
            style.nominal("rate", title="learning rate"),
            style.quantity(when, title=f"invariance {title} (mean cosine)", format=".4~g"),
            style.nominal("interval", title="95 % interval over seeds"),
            style.quantity(f"{when}_n", title="seeds"),
        ]
        mark = {"type": "point", "size": 48, "opacity": 1}
        mark |= {"style": "open"} if when == "before" else {"filled": True}
        x = style.quantity(when, **on_axis)
        layers.append(style.layer(mark, [style.SHOWN, interval], x=x, **place, shape=look["shape"], tooltip=seen))
    return layers
