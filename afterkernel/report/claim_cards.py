"""Findings on claims as the page shows them: a card with the verdict, a table and a figure of the comparisons."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from afterkernel import text as fmt
from afterkernel.claims import CLAIMS, Comparison, ComparisonOutcome, Finding, PartFinding, judge
from afterkernel.claims.pairing import of_pairs
from afterkernel.claims.statements import STATEMENTS
from afterkernel.claims.verdict import combined, decisive_of
from afterkernel.records.record import Record, is_configured
from afterkernel.report import figure_claim
from afterkernel.report.output import PageFigure, ReportFiles
from afterkernel.report.table_format import Cell, Table, TableRow

if TYPE_CHECKING:
    import pandas as pd

    from afterkernel.claims.claim import Part

METHOD = (
    "Each seed gives one paired difference, at each learning rate or, over rates, at each training loss; nothing is "
    "averaged over rates. Sign flips of these differences over the seeds decide, without a normal distribution: they "
    "are made for all comparisons of a claim together, so that each direction is shown wrongly anywhere in a claim in "
    "at most 2.5 % of sweeps (p-values are two-sided and compared with 5 %). Where the answers to single images are "
    "recorded, an analysis over seeds and images must show it too: conclusions on errors then hold over seeds and over "
    "images like these, and all others over seeds, for these images. Student's 95 % interval, over seeds, is shown and "
    "decides nothing. What all comparisons must show together, and what contradicts another rate or loss, counts by "
    "each comparison's own p-value."
)


@dataclasses.dataclass(frozen=True)
class PartSummary:
    """A part of a claim on its card: its title, its verdict, and the effect of its decisive comparison as text.

    `elsewhere` has the effects at the other learning rates and losses of the same pair of data and network, and
    `detectable` which effect such a comparison could have shown.
    """

    title: str
    verdict: str
    effect: str
    reason: str
    elsewhere: str = ""
    detectable: str = ""


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


def judge_claims(records: Sequence[Record], rows: pd.DataFrame, names: Sequence[str] = ()) -> list[Finding]:
    """The verdicts of the rows of these records on the named claims, by default those that their sweeps name.

    None if no run is about a pair of classes. Runs without a configuration are left out: it is unknown which of them
    are comparable.
    """
    pairs = of_pairs(rows[rows["configured"]])
    if pairs.empty:
        return []
    return [judge(CLAIMS[name], pairs) for name in names or requested_claims(filter(is_configured, records))]


def comparison_frame(finding: Finding) -> pd.DataFrame:
    """The paired comparisons of a claim, unrounded, in the units that `unit` names."""
    import pandas as pd

    found = [
        {
            "claim": finding.claim.name,
            "part": part.title,
            "statement": part.statement,
            "unit": part.unit,
            "data": one.sample.data,
            "network": one.sample.network,
            "learning_rate": one.sample.rate,
            "loss": one.sample.loss,
            "n_seeds": one.test.n,
            "before": one.sample.before,
            "after": one.sample.after,
            "effect": one.test.mean,
            "standard_deviation": one.test.sd,
            "standard_error": one.test.error,
            "student95_low": one.test.low,
            "student95_high": one.test.high,
            "seeds_and_images95_low": one.test.images_low,
            "seeds_and_images95_high": one.test.images_high,
            "claimed": str(part.region),
            "p_holds": one.test.p_holds,
            "p_holds_joint": one.test.p_holds_joint,
            "p_holds_student": one.test.p_holds_t,
            "p_does_not": one.test.p_fails,
            "p_does_not_joint": one.test.p_fails_joint,
            "p_does_not_student": one.test.p_fails_t,
            "detectable": one.test.detectable,
            "finding": one.outcome.value,
            "reason": one.reason,
            "left_out": one.sample.left_out,
            "remark": one.sample.remark,
        }
        for part, one in finding.comparisons
    ]
    return pd.DataFrame(found)


def claim_card(finding: Finding, files: ReportFiles) -> ClaimCard:
    """The card of a claim, with its table and figure written."""
    card = ClaimCard(finding, summarise_parts(finding))
    if not finding.comparisons:
        return card
    frame, name = comparison_frame(finding), finding.claim.name
    table = files.table(frame, _table(finding), f"claim_{name}")
    parts = figure_claim.measured(finding)
    figure = None
    if parts:
        figure = files.figure(
            f"claim_{name}",
            figure_claim.result(finding),
            f"Claim {name.upper()}: effect per pair of data and network and learning rate or loss. Small translucent "
            f"points are single seeds ({_seeds(finding)}), large ones their mean. Thick bars are Student's 95 % intervals "
            "over seeds, thin ones those over seeds and images. Shaded: the claimed region.",
            figure_claim.draw(parts),
        )
    return dataclasses.replace(card, table=table, figure=figure)


def summarise_parts(finding: Finding) -> list[PartSummary]:
    """One summary per part; parts that are not measured for the same reason share one."""
    found: dict[str, PartSummary] = {}
    for part in finding.parts:
        title = part.part.title
        key = part.reason if part.verdict == "not measured" else title
        title = f"{found[key].title}; {title}" if key in found else title
        found[key] = PartSummary(
            title, part.verdict, _effect(part), part.reason, _elsewhere(part), _detectable(part.part, part.decisive)
        )
    return list(found.values())


@dataclasses.dataclass(frozen=True)
class StatementSummary:
    """A statement of the paper's abstract, and what the parts that bear on it show."""

    key: str
    text: str
    claim: str
    verdict: str
    effect: str


def summarise_statements(findings: Iterable[Finding]) -> list[StatementSummary]:
    """The statements of the abstract that the claims bear on, in its order."""
    found = []
    for finding in findings:
        for key in dict.fromkeys(part.part.statement for part in finding.parts if part.part.statement):
            parts = [part for part in finding.parts if part.part.statement == key]
            verdict, _ = combined(parts)
            decisive = decisive_of(parts, verdict)
            effect = "" if decisive is None or not (text := _effect(decisive)) else f"{decisive.part.title}: {text}"
            found.append(StatementSummary(key, STATEMENTS[key], finding.claim.name, verdict, effect))
    return sorted(found, key=lambda one: list(STATEMENTS).index(one.key))


def _seeds(finding: Finding) -> str:
    counts = sorted({one.test.n for _, one in finding.comparisons})
    return f"n = {counts[0]} seeds" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]} seeds"


def _effect(found: PartFinding) -> str:
    one = found.decisive
    if one is None:
        return ""
    where = ", ".join(filter(None, (one.sample.data, one.sample.network, one.sample.place)))
    if one.test.mean is None:
        return f"{one.sample.remark} ({where})" if one.sample.remark else ""
    decimals = found.part.decimals
    text = f"{fmt.number(one.test.mean, decimals, sign=_differs(found.part))} {found.part.unit}"
    if one.test.low is not None:
        text += f", 95 % interval over seeds, for these images, {_interval(one.test.low, one.test.high, decimals)}"
    if one.test.images_low is not None:
        text += f", over seeds and images {_interval(one.test.images_low, one.test.images_high, decimals)}"
    sides = " → ".join(found.part.sides) if _differs(found.part) else "level"
    return f"{sides}: {text}, n = {one.test.n} ({where})"


def _elsewhere(found: PartFinding) -> str:
    """The effects at the other places of the decisive pair, with Student's intervals."""
    others = [one for one in found.decisive_pair if one is not found.decisive and one.test.mean is not None]
    d = found.part.decimals
    texts = [
        f"{fmt.number(one.test.mean, d, sign=_differs(found.part))} {_interval(one.test.low, one.test.high, d)} "
        f"at {one.sample.place}"
        for one in others
    ]
    return f"Elsewhere on this pair: {'; '.join(texts)}" if texts else ""


def _detectable(part: Part, one: Comparison | None) -> str:
    if one is None or one.test.detectable is None:
        return ""
    if math.isinf(one.test.detectable):
        return f"With n = {one.test.n} seeds no effect would be shown in 80 % of sweeps, among so many comparisons"
    size = fmt.significant(one.test.detectable, 2)
    away = "" if _from_zero(part) else " beyond the bound"
    return (
        f"With n = {one.test.n} seeds and this spread, an effect of {size} {part.unit}{away} would be shown in 80 % of "
        "sweeps"
    )


def _size(detectable: float | None) -> str:
    return "none" if detectable == math.inf else fmt.significant(detectable, 2)


def _from_zero(part: Part) -> bool:
    return {part.region.low, part.region.high} <= {0.0, None}


def _table(finding: Finding) -> Table:
    rows = [
        TableRow(_cells(part, one), alert=one.outcome is ComparisonOutcome.FAILS) for part, one in finding.comparisons
    ]
    return Table(
        title=f"Claim {finding.claim.name.upper()}: paired comparisons",
        note=f"{finding.claim.comparison} Effects are means over seeds ± standard error. Student's interval is over "
        "seeds, for these images; that over seeds and images takes both as drawn. The p-values are of the tests "
        "that the effect lies in the claimed region, and that it does not: jointly over the claim, and below them by "
        "the comparison alone and by Student's t. Below 0.05 it is shown to hold, or not to. Detectable is the effect "
        "that so many seeds with this spread would show in 80 % of sweeps.",
        headings=[
            *("part", "data", "network", "learning rate", "loss", "seeds", "from", "to", "effect", "Student 95 %"),
            *("seeds and images 95 %", "claimed", "p holds, jointly", "p does not, jointly", "detectable", "finding"),
            "left out",
        ],
        rows=rows,
        n_keys=5,
        long=len(rows) > 12,
    )


def _cells(part: Part, one: Comparison) -> list[Cell]:
    d = part.decimals
    sides = [
        (fmt.fixed(value, d), side) if value is not None else (fmt.MISSING, "")
        for value, side in zip((one.sample.before, one.sample.after), part.sides, strict=True)
    ]
    effect = fmt.number(one.test.mean, d, sign=_differs(part))
    test = one.test
    return [
        *((part.title, ""), (one.sample.data, ""), (one.sample.network, "")),
        *((fmt.general(one.sample.rate), ""), (fmt.general(one.sample.loss), ""), (str(test.n), "")),
        *sides,
        (fmt.spread(effect, fmt.fixed(test.error, d)), part.unit),
        (_interval(test.low, test.high, d), ""),
        (_interval(test.images_low, test.images_high, d), ""),
        (str(part.region), ""),
        _p_values(test.p_holds_joint, test.p_holds, test.p_holds_t),
        _p_values(test.p_fails_joint, test.p_fails, test.p_fails_t),
        (_size(test.detectable), ""),
        (one.outcome.value, one.reason),
        (one.sample.left_out or fmt.MISSING, one.sample.remark),
    ]


def _p_values(joint: float | None, own: float | None, student: float | None) -> Cell:
    """The joint p-value, and below it those of the comparison alone."""
    return fmt.p_value(joint), "" if own is None else f"alone {fmt.p_value(own)}, Student {fmt.p_value(student)}"


def _differs(part: Part) -> bool:
    """Whether the effect is a difference, which has a sign, and not a level."""
    return any(part.sides)


def _interval(low: float | None, high: float | None, decimals: int) -> str:
    if fmt.is_missing(low) or fmt.is_missing(high):
        return fmt.MISSING
    return f"[{fmt.number(low, decimals)}, {fmt.number(high, decimals)}]"
