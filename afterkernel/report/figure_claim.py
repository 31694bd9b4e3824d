"""Figure of a claim: every comparison with its seeds and intervals, one panel per part, its claimed region shaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.claims import Comparison, ComparisonOutcome, Finding, PartFinding
from afterkernel.report import style

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt
    import pandas as pd

_WIDTH, _ROW = 600, 21
_OUTCOMES = [one.value for one in ComparisonOutcome]
_SHAPES = ["circle", "cross", "diamond"]
_TEXTS = ["row", "outcome"]


def measured(finding: Finding) -> list[PartFinding]:
    """The parts for which anything was measured."""
    return [part for part in finding.parts if _shown(part)]


def frames(parts: Sequence[PartFinding]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The data of the figure: one row per comparison, and one per comparison and seed; `part` counts the parts."""
    import pandas as pd

    means, seeds = [], []
    for place, part in enumerate(parts):
        for one in _shown(part):
            row, test = {"part": place, "row": _label(one)}, one.test
            numbers = {"mean": test.mean, "low": test.low, "high": test.high, "n": test.n}
            both = {"images_low": test.images_low, "images_high": test.images_high}
            means.append({**row, "outcome": one.outcome.value, **numbers, **both})
            names = one.sample.seeds or range(len(one.sample.values))
            values = zip(names, one.sample.values, strict=True)
            seeds += [{**row, "seed": seed, "value": value} for seed, value in values]
    return pd.DataFrame(means), pd.DataFrame(seeds)


def draw(parts: Sequence[PartFinding]) -> alt.VConcatChart:
    """The figure of the `measured` parts. Parts in the same unit share their scale."""
    import altair as alt

    means, seeds = frames(parts)
    data = style.csv_data(seeds, ["row"])
    panels = [_panel(place, part, _domain(place, parts, means, seeds), data) for place, part in enumerate(parts)]
    return alt.vconcat(*panels, data=style.csv_data(means, _TEXTS), spacing=26, usermeta={"rates": 0})


def result(finding: Finding) -> str:
    """What the figure shows, in words."""
    found = [f"Claim {finding.claim.name.upper()} is {finding.verdict}."]
    for part in measured(finding):
        shown = _shown(part)
        counts = {one: sum(other.outcome is one for other in shown) for one in ComparisonOutcome}
        effects = sorted(one.test.mean for one in shown if one.test.mean is not None)
        ends = [fmt.number(effect, part.part.decimals, sign=any(part.part.sides)) for effect in effects]
        over = ends[0] if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"
        found.append(
            f"{_capital(part.part.title)}: shown to hold in {counts[ComparisonOutcome.HOLDS]} of "
            f"{fmt.plural(len(shown), 'comparison')}, shown not to hold in {counts[ComparisonOutcome.FAILS]}, open in "
            f"{counts[ComparisonOutcome.OPEN]}; {'effect' if len(ends) == 1 else 'effects'} {over} {part.part.unit}."
        )
    return " ".join(found)


def _shown(part: PartFinding) -> list[Comparison]:
    return [one for one in part.comparisons if one.test.mean is not None]


def _label(one: Comparison) -> str:
    return ", ".join(filter(None, (one.sample.data, one.sample.network, one.sample.place)))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _domain(
    place: int, parts: Sequence[PartFinding], means: pd.DataFrame, seeds: pd.DataFrame
) -> tuple[float, float]:
    """The range of the effects of all parts in the unit of this one, with 0 for differences or else the bounds."""
    unit = parts[place].part.unit
    alike = [index for index, part in enumerate(parts) if part.part.unit == unit]
    fixed = [bound for index in alike for bound, _ in parts[index].part.region.bounds]
    fixed += [0.0 for index in alike if any(parts[index].part.sides)]
    table = means[means["part"].isin(alike)]
    values: Any = [*fixed, *seeds[seeds["part"].isin(alike)]["value"]]
    columns = ["mean", "low", "high", "images_low", "images_high"]
    values += table[columns].astype("float64").stack().dropna().tolist()
    room = 0.04 * (max(values) - min(values) or 1.0)
    return min(values) - room, max(values) + room


def _panel(place: int, found: PartFinding, domain: tuple[float, float], seeds: alt.Data) -> alt.LayerChart:
    import altair as alt

    labels = [_label(one) for one in _shown(found)]
    unit, where = found.part.unit, f"datum.part == {place}"
    scale = alt.Scale(domain=list(domain), nice=False, zero=False)
    axis = alt.Axis(title=unit, format="~g", tickCount=7)
    y = alt.Y("row:N", sort=labels, title=None, axis=alt.Axis(labelLimit=380, grid=False))
    rows = alt.Chart().transform_filter(where)
    outcome = {
        "color": alt.Color("outcome:N", scale=alt.Scale(domain=_OUTCOMES), legend=alt.Legend(title=None)),
        "shape": alt.Shape("outcome:N", scale=alt.Scale(domain=_OUTCOMES, range=_SHAPES), legend=alt.Legend(title=None)),
    }
    seen = [
        alt.Tooltip("row:N", title="comparison"),
        alt.Tooltip("mean:Q", title=f"mean effect ({unit})", format=".4~g"),
        alt.Tooltip("interval:N", title="95 % interval over seeds"),
        alt.Tooltip("both:N", title="over seeds and images"),
        alt.Tooltip("n:Q", title="seeds"),
        alt.Tooltip("outcome:N", title="finding"),
    ]
    both = style.INTERVAL.replace("low", "images_low").replace("high", "images_high")
    region = found.part.region
    left, right = max(domain[0], _or(region.low, domain[0])), min(domain[1], _or(region.high, domain[1]))
    x = alt.X("mean:Q", scale=scale, axis=axis)
    layers: list[Any] = [
        alt.Chart(alt.InlineData(values=[{"left": left, "right": right}]))
        .mark_rect(style="region", clip=True)
        .encode(x=alt.X("left:Q", scale=scale, axis=axis), x2="right:Q"),
        alt.Chart(alt.InlineData(values=[{"zero": 0}]))
        .mark_rule(style="ink", strokeWidth=1, clip=True)
        .encode(x=alt.X("zero:Q", scale=scale, axis=axis)),
        alt.Chart(seeds)
        .transform_filter(where)
        .mark_point(style="seed", filled=True, size=22, opacity=0.35, clip=True)
        .encode(
            x=alt.X("value:Q", scale=scale, axis=axis),
            y=y,
            tooltip=[
                alt.Tooltip("row:N", title="comparison"),
                alt.Tooltip("seed:Q", title="seed"),
                alt.Tooltip("value:Q", title=f"effect ({unit})", format=".4~g"),
            ],
        ),
        rows.transform_filter("isValid(datum.images_low)")
        .mark_rule(strokeWidth=1, clip=True)
        .encode(x=alt.X("images_low:Q", scale=scale, axis=axis), x2="images_high:Q", y=y, color=outcome["color"]),
        rows.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=2.4, clip=True)
        .encode(x=alt.X("low:Q", scale=scale, axis=axis), x2="high:Q", y=y, color=outcome["color"]),
        rows.transform_calculate(interval=style.INTERVAL, both=both)
        .mark_point(filled=True, size=75, opacity=1, clip=True)
        .encode(x, y, **outcome, tooltip=seen),
    ]
    sides = f": {' → '.join(found.part.sides)}" if any(found.part.sides) else ""
    chart = alt.layer(*layers).add_params(style.zoom(f"zoom_{place}", y=False))
    title = alt.Title(f"{_capital(found.part.title)}{sides}", frame="group")
    return chart.properties(width=_WIDTH, height=_ROW * len(labels), title=title)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
