"""Findings on claims as the page shows them: a card with the verdict, a table and a figure of the comparisons."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from afterkernel import text as fmt
from afterkernel.claims import Comparison, ComparisonOutcome, Finding, PartFinding
from afterkernel.claims.statements import STATEMENTS
from afterkernel.claims.verdict import combined, decisive_of
from afterkernel.report import figure_claim
from afterkernel.report.claim_table import (
    SeedRow,
    comparison_frame,
    comparison_table,
    differs,
    interval,
    seed_frame,
    seed_rows,
)
from afterkernel.report.explanations import change_of, shown_effect, why
from afterkernel.report.figure_file import PageFigure
from afterkernel.report.output import ReportFiles
from afterkernel.report.overview import VerdictRow, overview, part_row
from afterkernel.report.table_format import Table

if TYPE_CHECKING:
    from afterkernel.claims.claim import Part

METHOD = (
    "Each seed gives one paired difference, at each learning rate or, over rates, at each training loss; nothing is "
    "averaged over rates. Sign flips of these differences over the seeds decide, without a normal distribution: they "
    "are made for all comparisons of a claim together, so that each direction is shown wrongly anywhere in a claim in "
    "at most 2.5 % of sweeps (joint p-values, two-sided and compared with 5 %). Where the answers to single images are "
    "recorded, an analysis over seeds and images must show it too: conclusions on errors then hold over seeds and over "
    "images like these, and all others over seeds, for these images. Student's 95 % interval, over seeds, is shown and "
    "decides nothing. What all comparisons must show together, and what contradicts another rate or loss, counts by "
    "each comparison's own p-value (alone, without the correction)."
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
    """A finding with the texts, tables and figure that a report shows of it.

    `row` is its row in the overview, `part_rows` those of its parts; `why` and `change` explain the verdict. `seeds`
    are the values per seed of each comparison, and `seeds_file` their file.
    """

    finding: Finding
    parts: list[PartSummary]
    row: VerdictRow
    part_rows: list[VerdictRow]
    why: str
    change: str
    table: Table | None = None
    figure: PageFigure | None = None
    seeds: Sequence[SeedRow] = ()
    seeds_file: str = ""

    @property
    def seed_numbers(self) -> list[int]:
        """The seeds of all comparisons."""
        return sorted({one.seed for row in self.seeds for one in row.values})

    @property
    def counts(self) -> str:
        """How many comparisons there are, and what they show."""
        found = [one.outcome for _, one in self.finding.comparisons]
        listed = ", ".join(
            f"{found.count(outcome)} {outcome.value}" for outcome in ComparisonOutcome if outcome in found
        )
        return f"{fmt.plural(len(found), 'comparison')}: {listed}"


def claim_card(finding: Finding, files: ReportFiles) -> ClaimCard:
    """The card of a claim, with its table and figure written."""
    rows = [part_row(part) for part in finding.parts]
    card = ClaimCard(finding, summarise_parts(finding), overview(finding), rows, why(finding), change_of(finding))
    if not finding.comparisons:
        return card
    name = finding.claim.name
    table = files.table(comparison_frame(finding), comparison_table(finding), f"claim_{name}")
    seeds_file = files.data(seed_frame(finding), f"claim_{name}_seeds")
    parts = figure_claim.measured(finding)
    figure = None
    if parts:
        figure = files.figure(
            f"claim_{name}",
            figure_claim.result(finding),
            f"Claim {name.upper()}: effect per pair of data and network and learning rate or loss. Small translucent "
            f"points are single seeds ({_seeds(finding)}), large ones their mean. Thick bars are Student's 95 % "
            "intervals over seeds, thin ones those over seeds and images. Shaded: the claimed region.",
            figure_claim.draw(parts),
        )
    seeds = seed_rows(finding)
    return dataclasses.replace(card, table=table, figure=figure, seeds=seeds, seeds_file=seeds_file)


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
    """A statement of the paper's abstract, and what the parts that bear on it show.

    `effect` is that of the comparison on which the verdict depends, with the reason if there is none yet.
    """

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
            verdict, reason = combined(parts)
            decisive = decisive_of(parts, verdict)
            effect = "" if decisive is None or not (text := _effect(decisive)) else f"{decisive.part.title}: {text}"
            if verdict in ("undecided", "not measured"):
                effect = ". ".join(filter(None, (effect, f"{reason[0].upper()}{reason[1:]}")))
            found.append(StatementSummary(key, STATEMENTS[key], finding.claim.name, verdict, effect))
    return sorted(found, key=lambda one: list(STATEMENTS).index(one.key))


def _seeds(finding: Finding) -> str:
    counts = sorted({one.test.n for _, one in finding.comparisons if one.test.mean is not None})
    return f"n = {counts[0]} seeds" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]} seeds"


def _effect(found: PartFinding) -> str:
    one = found.decisive
    if one is None:
        return ""
    where = ", ".join(filter(None, (one.sample.data, one.sample.network, one.sample.place)))
    if one.test.mean is None:
        return f"{one.sample.remark} ({where})" if one.sample.remark else ""
    decimals = found.part.decimals
    text = f"{fmt.number(one.test.mean, decimals, sign=differs(found.part))} {found.part.unit}"
    if one.test.low is not None:
        text += f", 95 % interval over seeds, for these images, {interval(one.test.low, one.test.high, decimals)}"
    if one.test.images_low is not None:
        text += f", over seeds and images {interval(one.test.images_low, one.test.images_high, decimals)}"
    sides = f"{' → '.join(found.part.sides)}: " if differs(found.part) else ""
    return f"{sides}{text}, n = {one.test.n} ({where}); {shown_effect(found, one)}"


def _elsewhere(found: PartFinding) -> str:
    """The effects at the other places of the decisive pair, with Student's intervals."""
    others = [one for one in found.decisive_pair if one is not found.decisive and one.test.mean is not None]
    d = found.part.decimals
    texts = [
        f"{fmt.number(one.test.mean, d, sign=differs(found.part))} {interval(one.test.low, one.test.high, d)} "
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


def _from_zero(part: Part) -> bool:
    return {part.region.low, part.region.high} <= {0.0, None}
