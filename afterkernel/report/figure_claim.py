"""Figure of a claim: every comparison with its seeds and intervals, one panel per part, its claimed region shaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.claims import Comparison, ComparisonOutcome, Finding, PartFinding
from afterkernel.report import style

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

_WIDTH, _ROW = 600, 24
_OUTCOMES = [one.value for one in ComparisonOutcome]
_SHAPES = ["circle", "cross", "diamond"]


def measured(finding: Finding) -> list[PartFinding]:
    """The parts for which anything was measured."""
    return [part for part in finding.parts if _shown(part)]


def frame(parts: Sequence[PartFinding]) -> pd.DataFrame:
    """The data of the figure: a row per comparison, and one with a `value` per comparison and seed; `part` counts."""
    import pandas as pd

    found: list[dict[str, Any]] = []
    for place, part in enumerate(parts):
        for one in _shown(part):
            row, test = {"part": place, "row": _label(one)}, one.test
            numbers = {"mean": test.mean, "low": test.low, "high": test.high, "n": test.n}
            both = {"images_low": test.images_low, "images_high": test.images_high}
            found.append({**row, "outcome": one.outcome.value, **numbers, **both})
            names = one.sample.seeds or range(len(one.sample.values))
            values = zip(names, one.sample.values, strict=True)
            found += [{**row, "seed": seed, "value": value} for seed, value in values]
    return pd.DataFrame(found)


def draw(parts: Sequence[PartFinding]) -> style.Spec:
    """The figure of the `measured` parts. Parts in the same unit share their scale."""
    panels = []
    for place, part in enumerate(parts):
        rows = [_label(one) for one in _shown(part)]
        low, high = _range([one for one in parts if one.part.unit == part.part.unit])
        layers = _layers(part, rows, (low, high), f"datum.part == {place}")
        panels.append({"title": _title(part), "width": _WIDTH, "height": _ROW * len(rows), "layer": layers})
    return style.chart(frame(parts), 0, spacing=24, vconcat=panels)


def result(finding: Finding) -> str:
    """What the figure shows, in words."""
    found = [f"Claim {finding.claim.name.upper()}: {finding.verdict}."]
    for part in measured(finding):
        shown = _shown(part)
        counts = {one: sum(other.outcome is one for other in shown) for one in ComparisonOutcome}
        effects = sorted(one.test.mean for one in shown if one.test.mean is not None)
        ends = [fmt.number(effect, part.part.decimals, sign=any(part.part.sides)) for effect in effects]
        over = ends[0] if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"
        found.append(
            f"{_capital(part.part.title)}: shown to hold in {counts[ComparisonOutcome.HOLDS]} of "
            f"{fmt.plural(len(shown), 'comparison')} drawn, shown not to hold in "
            f"{counts[ComparisonOutcome.FAILS]}, open in "
            f"{counts[ComparisonOutcome.OPEN]}; {'effect' if len(ends) == 1 else 'effects'} {over} {part.part.unit}."
        )
    return " ".join(found)


def _shown(part: PartFinding) -> list[Comparison]:
    return [one for one in part.comparisons if one.test.mean is not None]


def _label(one: Comparison) -> str:
    return ", ".join(filter(None, (one.sample.data, one.sample.network, one.sample.place)))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _title(found: PartFinding) -> str:
    sides = f": {' → '.join(found.part.sides)}" if any(found.part.sides) else ""
    return f"{_capital(found.part.title)}{sides}"


def _range(alike: Sequence[PartFinding]) -> tuple[float, float]:
    """The range of all effects of these parts, with the bounds of their regions and, for differences, 0."""
    values: list[float] = []
    for part in alike:
        values += [bound for bound, _ in part.part.region.bounds] + [0.0] * any(part.part.sides)
        for one in _shown(part):
            test = one.test
            ends = [test.mean, test.low, test.high, test.images_low, test.images_high, *one.sample.values]
            values += [end for end in ends if end is not None]
    room = 0.03 * (max(values) - min(values) or 1.0)
    return min(values) - room, max(values) + room


def _layers(found: PartFinding, labels: list[str], ends: tuple[float, float], where: str) -> list[style.Spec]:
    unit, region = found.part.unit, found.part.region
    scale = {"domain": list(ends), "nice": False, "zero": False}
    axis = {"title": unit, "format": ".4~g", "tickCount": 7}
    y = style.nominal("row", sort=labels, title=None, axis={"labelLimit": 380, "grid": False, "minExtent": 0})
    legend = {"title": None}
    color = style.nominal("outcome", scale={"domain": _OUTCOMES}, legend=legend)
    shape = style.nominal("outcome", scale={"domain": _OUTCOMES, "range": _SHAPES}, legend=legend)

    def x(name: str) -> style.Spec:
        return style.quantity(name, scale=scale, axis=axis)

    def rows(needed: str) -> style.Spec:
        return {"filter": f"{where} && isValid(datum.{needed})"}

    seed = [
        style.nominal("row", title="comparison"),
        style.quantity("seed", title="seed"),
        style.quantity("value", title=f"effect ({unit})", format=".4~g"),
    ]
    seen = [
        style.nominal("row", title="comparison"),
        style.quantity("mean", title=f"mean effect ({unit})", format=".4~g"),
        style.nominal("interval", title="95 % interval over seeds"),
        style.nominal("both", title="over seeds and images"),
        style.quantity("n", title="seeds"),
        style.nominal("outcome", title="finding"),
    ]
    both = style.INTERVAL.replace("low", "images_low").replace("high", "images_high")
    intervals = [{"calculate": style.INTERVAL, "as": "interval"}, {"calculate": both, "as": "both"}]
    left = max(ends[0], ends[0] if region.low is None else region.low)
    right = min(ends[1], ends[1] if region.high is None else region.high)
    constant = {"data": {"values": [{"left": left, "right": right, "zero": 0}]}}
    point, above = {"type": "point", "filled": True}, {"yOffset": -3}
    zero = style.layer({"type": "rule", "style": "ink", "strokeWidth": 1}, [], x=x("zero"))

    def bars(low: str, high: str, width: float) -> style.Spec:
        mark = {"type": "rule", "strokeWidth": width, **above}
        return style.layer(mark, [rows(low)], x=x(low), x2={"field": high}, y=y, color=color)

    seeds = {**point, "style": "seed", "size": 20, "opacity": 0.45, "yOffset": 5}
    means = {**point, "size": 75, "opacity": 1, **above}
    return [
        constant | style.layer({"type": "rect", "style": "region"}, [], x=x("left"), x2={"field": "right"}),
        *([constant | zero] if ends[0] < 0 < ends[1] else []),
        style.layer(seeds, [rows("value")], x=x("value"), y=y, tooltip=seed),
        bars("images_low", "images_high", 1),
        bars("low", "high", 2.4),
        style.layer(means, [rows("mean"), *intervals], x=x("mean"), y=y, color=color, shape=shape, tooltip=seen),
    ]
