"""Findings on claims as the page shows them: a card with the verdict, a table and a figure of the comparisons."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from afterkernel import text as fmt
from afterkernel.claims import CLAIMS, Comparison, ComparisonOutcome, Finding, PartFinding, judge
from afterkernel.claims.inference import bootstrap_interval
from afterkernel.records.record import Record
from afterkernel.report import figure_claim
from afterkernel.report.output import PageFigure, ReportFiles
from afterkernel.report.table_format import Cell, Table, TableRow

if TYPE_CHECKING:
    import pandas as pd

    from afterkernel.claims.claim import Part

METHOD = (
    "Each seed gives one paired difference; effects are means over seeds with Student's 95 % interval. Holm's "
    "correction covers all comparisons of a claim, once for holding and once for not holding. P-values are two-sided "
    "and compared with 5 %, so that each direction is shown wrongly in at most 2.5 % of cases. Fewer than five seeds, "
    "or differences without spread, are not tested. Conclusions hold over seeds, for these images."
)


@dataclasses.dataclass(frozen=True)
class PartSummary:
    """A part of a claim on its card: its title, its verdict, and the effect of its decisive comparison as text."""

    title: str
    verdict: str
    effect: str
    reason: str


@dataclasses.dataclass(frozen=True)
class ClaimCard:
    """A finding with the texts, table and figure that the page shows of it."""

    finding: Finding
    parts: list[PartSummary]
    table: Table | None = None
    figure: PageFigure | None = None


def requested_claims(records: Iterable[Record]) -> list[str]:
    """The claims that the sweeps of these records name in `sweep.claims`; all if none is named."""
    named: set[str] = set()
    for record in records:
        sweep = record.config.get("sweep")
        named |= set(sweep.get("claims", []) if isinstance(sweep, dict) else [])
    return [name for name in CLAIMS if name in named] or list(CLAIMS)


def judge_claims(names: Sequence[str], rows: pd.DataFrame) -> list[Finding]:
    """The verdicts on the named claims."""
    return [judge(CLAIMS[name], rows) for name in names]


def comparison_frame(finding: Finding) -> pd.DataFrame:
    """The paired comparisons of a claim, unrounded, in the units that `unit` names."""
    import pandas as pd

    found = []
    for part, one in finding.comparisons:
        bootstrap = bootstrap_interval(one.sample.values)
        found.append(
            {
                "claim": finding.claim.name,
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
                "p_holds": one.test.p_holds,
                "p_holds_holm": one.p_holds_holm,
                "p_does_not": one.test.p_fails,
                "p_does_not_holm": one.p_fails_holm,
                "finding": one.outcome.value,
                "reason": one.reason,
                "left_out": one.sample.left_out,
            }
        )
    return pd.DataFrame(found)


def claim_card(finding: Finding, files: ReportFiles) -> ClaimCard:
    """The card of a claim, with its table and figure written."""
    card = ClaimCard(finding, summarise_parts(finding))
    if not finding.comparisons:
        return card
    frame, name = comparison_frame(finding), finding.claim.name
    table = files.table(frame, _table(finding, frame), f"claim_{name}")
    parts = figure_claim.measured(finding)
    figure = None
    if parts:
        figure = files.figure(
            f"claim_{name}",
            f"Claim {name.upper()}: effects with intervals",
            f"Claim {name.upper()}: effect per pair of data and network, the mean of one difference per seed. Bars are "
            f"Student's 95 % intervals, before correction; {_seeds(finding)}. Shaded: the claimed region.",
            figure_claim.draw,
            parts,
        )
    return dataclasses.replace(card, table=table, figure=figure)


def summarise_parts(finding: Finding) -> list[PartSummary]:
    """One summary per part; parts that are not measured for the same reason share one."""
    found: dict[str, PartSummary] = {}
    for part in finding.parts:
        title = part.part.title
        key = part.reason if part.verdict == "not measured" else title
        title = f"{found[key].title}; {title}" if key in found else title
        found[key] = PartSummary(title, part.verdict, _effect(part), part.reason)
    return list(found.values())


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


def _table(finding: Finding, frame: pd.DataFrame) -> Table:
    rows = [
        TableRow(_cells(part, one, line), alert=one.outcome is ComparisonOutcome.FAILS)
        for (part, one), line in zip(finding.comparisons, frame.to_dict("records"), strict=True)
    ]
    return Table(
        title=f"Claim {finding.claim.name.upper()}: paired comparisons",
        note=f"{finding.claim.comparison} Effects are means over seeds ± standard error. The percentile bootstrap "
        "interval is shown next to Student's; it is too narrow for few seeds. The p-values are of the tests that the "
        "effect lies in the claimed region, and that it does not: twice the one-sided p-value, corrected over the "
        "claim. Below 0.05 the comparison is shown to hold, or not to.",
        headings=[
            *("part", "data", "network", "seeds", "from", "to", "effect", "Student 95 %", "bootstrap 95 %"),
            *("claimed", "p holds (Holm)", "p does not (Holm)", "finding", "left out"),
        ],
        rows=rows,
        n_keys=3,
        long=len(rows) > 12,
    )


def _cells(part: Part, one: Comparison, line: Any) -> list[Cell]:
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
        (fmt.p_value(one.p_holds_holm), ""),
        (fmt.p_value(one.p_fails_holm), ""),
        (one.outcome.value, one.reason),
        (one.sample.left_out or fmt.MISSING, ""),
    ]


def _differs(part: Part) -> bool:
    """Whether the effect is a difference, which has a sign, and not a level."""
    return any(part.sides)


def _interval(low: float | None, high: float | None, decimals: int) -> str:
    if fmt.is_missing(low) or fmt.is_missing(high):
        return fmt.MISSING
    return f"[{fmt.number(low, decimals)}, {fmt.number(high, decimals)}]"
