"""Findings on claims as the page shows them: a card with the verdict, table and figure of the paired comparisons."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.claims import HYPOTHESES, Comparison, Finding, PartFinding, judge
from afterkernel.claims.inference import bootstrap_interval
from afterkernel.records.record import Record
from afterkernel.report import figure_claim
from afterkernel.report.output import Output, Picture
from afterkernel.report.table_format import Row, Table

if TYPE_CHECKING:
    import pandas as pd

    from afterkernel.claims.hypothesis import Part

METHOD = (
    "One difference per seed; effects are their means with Student's 95 % interval. Holm's correction runs over all "
    "comparisons of a claim, once for those shown to hold and once for those shown not to; p-values are two-sided and "
    "stand against 5 %, so that either direction is shown wrongly in at most 2.5 % of cases. Fewer than five seeds, or "
    "differences without spread, are not tested. What is shown holds for seeds, on these images."
)


@dataclasses.dataclass(frozen=True)
class Line:
    """A part of a claim on its card: its title, its verdict, and the comparison that tells, in words."""

    title: str
    verdict: str
    effect: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Card:
    """What the page shows of a claim."""

    name: str
    statement: str
    comparison: str
    rule: str
    verdict: str
    reason: str
    lines: list[Line]
    table: Table | None
    picture: Picture | None
    remark: str = ""


def asked(records: Iterable[Record]) -> list[str]:
    """The claims that the sweeps of these records are to answer (`sweep.claims`), all where none is named."""
    named: set[str] = set()
    for record in records:
        sweep = record.config.get("sweep")
        named |= set(sweep.get("claims", []) if isinstance(sweep, dict) else [])
    return [name for name in HYPOTHESES if name in named] or list(HYPOTHESES)


def findings(names: Sequence[str], rows: pd.DataFrame) -> list[Finding]:
    """The verdicts on the named claims."""
    return [judge(HYPOTHESES[name], rows) for name in names]


def cards(found: Iterable[Finding], output: Output) -> list[Card]:
    """A card for each claim, its table and figure written."""
    return [_card(finding, output) for finding in found]


def table(finding: Finding) -> pd.DataFrame:
    """The paired comparisons of a claim, unrounded, in the units that `unit` names."""
    import pandas as pd

    found = []
    for part, one in finding.comparisons:
        bootstrap = bootstrap_interval(one.sample.values)
        found.append(
            {
                "claim": finding.hypothesis.name,
                "part": part.title,
                "unit": part.unit,
                "data": one.sample.data,
                "network": one.sample.network,
                "n_seeds": one.test.n,
                "before": one.sample.before,
                "after": one.sample.after,
                "effect": one.test.mean,
                "standard_error": one.test.error,
                "student95_low": one.test.low,
                "student95_high": one.test.high,
                "bootstrap95_low": bootstrap[0] if bootstrap else None,
                "bootstrap95_high": bootstrap[1] if bootstrap else None,
                "claimed": str(part.region),
                "p_holds": one.test.p_for,
                "p_holds_holm": one.holm_for,
                "p_does_not": one.test.p_against,
                "p_does_not_holm": one.holm_against,
                "finding": figure_claim.WORDS[one.state],
                "reason": one.reason,
                "left_out": one.sample.left_out,
            }
        )
    return pd.DataFrame(found)


def _card(finding: Finding, output: Output) -> Card:
    claim = finding.hypothesis
    lines = part_lines(finding)
    shown, picture = None, None
    if finding.comparisons:
        frame = table(finding)
        shown = output.table(frame, _shown(finding, frame), f"claim_{claim.name}")
        parts = figure_claim.measured(finding)
        if parts:
            picture = output.picture(
                f"claim_{claim.name}",
                f"Claim {claim.name.upper()}: effects with intervals",
                f"Claim {claim.name.upper()}: effect per pair of data and net, the mean of one difference per seed; "
                f"bars are Student's 95 % intervals, before correction; {_seeds(finding)}. Shaded: where the claim "
                "places the effect.",
                figure_claim.draw,
                parts,
            )
    words = (claim.name, claim.statement, claim.comparison, claim.rule)
    return Card(*words, finding.verdict, finding.reason, lines, shown, picture, finding.remark)


def part_lines(finding: Finding) -> list[Line]:
    """One line per part; parts that lack the same thing share a line."""
    lines: dict[str, Line] = {}
    for found in finding.parts:
        key = found.reason if found.verdict == "not measured" else found.part.title
        before = f"{lines[key].title}; " if key in lines else ""
        lines[key] = Line(f"{before}{found.part.title}", found.verdict, _effect(found), found.reason)
    return list(lines.values())


def _seeds(finding: Finding) -> str:
    counts = sorted({one.test.n for _, one in finding.comparisons})
    return f"n = {counts[0]} seeds" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]} seeds"


def _effect(found: PartFinding) -> str:
    one = found.decisive
    if one is None or one.test.mean is None:
        return ""
    decimals = found.part.decimals
    text = f"{fmt.number(one.test.mean, decimals, sign=_differs(found.part))} {found.part.unit}"
    if one.test.low is not None:
        text += f", 95 % interval {_interval(one.test.low, one.test.high, decimals)}"
    sides = " → ".join(found.part.sides) if _differs(found.part) else "level"
    return f"{sides}: {text}, n = {one.test.n} ({one.sample.data}, {one.sample.network})"


def _shown(finding: Finding, frame: pd.DataFrame) -> Table:
    rows = [
        Row(_cells(part, one, line), alert=one.state == "against")
        for (part, one), line in zip(finding.comparisons, frame.to_dict("records"), strict=True)
    ]
    return Table(
        title=f"Claim {finding.hypothesis.name.upper()}: paired comparisons",
        note=f"{finding.hypothesis.comparison} Effects are means over seeds ± standard error. The bootstrap's "
        "percentile interval is next to Student's; it is too narrow for few seeds. A p-value tests that the effect "
        "lies where the claim places it, or that it does not: twice the one-sided one, corrected over the claim, and "
        "below 0.05 it is shown.",
        headings=[
            *("part", "data", "network", "seeds", "from", "to", "effect", "Student 95 %", "bootstrap 95 %"),
            *("claimed", "p holds (Holm)", "p does not (Holm)", "finding", "left out"),
        ],
        rows=rows,
        n_keys=3,
        long=len(rows) > 12,
    )


def _cells(part: Part, one: Comparison, line: Any) -> list[tuple[str, str]]:
    d = part.decimals
    sides = [
        (fmt.fixed(value, d), side) if value is not None else (fmt.MISSING, "")
        for value, side in zip((one.sample.before, one.sample.after), part.sides, strict=True)
    ]
    effect = fmt.number(one.test.mean, d, sign=_differs(part))
    return [
        *((part.title, ""), (one.sample.data, ""), (one.sample.network, ""), (str(one.test.n), "")),
        *sides,
        (fmt.spread(effect, fmt.fixed(one.test.error, d)), part.unit),
        (_interval(one.test.low, one.test.high, d), ""),
        (_interval(line["bootstrap95_low"], line["bootstrap95_high"], d), ""),
        (str(part.region), ""),
        (fmt.p_value(one.holm_for), ""),
        (fmt.p_value(one.holm_against), ""),
        (figure_claim.WORDS[one.state], one.reason),
        (one.sample.left_out or fmt.MISSING, ""),
    ]


def _differs(part: Part) -> bool:
    """Whether the effect is a difference, which has a sign, and not a level."""
    return any(part.sides)


def _interval(low: float | None, high: float | None, decimals: int) -> str:
    if fmt.is_missing(low) or fmt.is_missing(high):
        return fmt.MISSING
    return f"[{fmt.number(low, decimals)}, {fmt.number(high, decimals)}]"
