"""What a report says on the terminal: one line per claim with its verdict and its effect, and the link to the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from afterkernel import text as fmt
from afterkernel.claims import Comparison, Finding, PartFinding
from afterkernel.report.explanations import shown_effect


def closing_lines(findings: Sequence[Finding], lead: str, page: Path) -> list[str]:
    """The lines at the end of `report`: what was measured, each claim, and the address of the page, an absolute URL."""
    several = len({one.sample.data for finding in findings for _, one in finding.comparisons}) > 1
    return [lead, *(_claim_line(finding, several=several) for finding in findings), page.resolve().as_uri()]


def _claim_line(finding: Finding, *, several: bool) -> str:
    """One claim: its verdict, what it says, and the effect on which the verdict depends; `several` data sets."""
    line = f"{finding.claim.name.upper()} {finding.verdict}: {finding.claim.headline or finding.claim.statement}"
    found = finding.decisive
    if found is None:
        return f"{line} ({finding.reason})"
    if found.decisive is None:
        return f"{line} (not measured: {found.part.title}, since {found.reason})"
    effect = _effect(found, found.decisive, several=several, verdict=finding.verdict)
    return f"{line} ({effect})"


def _effect(found: PartFinding, one: Comparison, *, several: bool, verdict: str) -> str:
    part, test = found.part, found.deciding_test(one)
    where = [one.sample.data if several else "", one.sample.network, one.sample.place]
    place = ", ".join(filter(None, where))
    if one.test.mean is None:
        return f"{part.title}: {one.sample.remark or one.reason}; {place}"
    unit = "" if part.title.startswith(part.unit) else f" {part.unit}"  # alignment with the NTK: 0.99
    effect = f"{fmt.number(one.test.mean, part.decimals, sign=any(part.sides))}{unit}"
    if one.test.low is not None and one.test.high is not None:
        low, high = (fmt.number(bound, part.decimals) for bound in (one.test.low, one.test.high))
        effect += f", 95 % interval [{low}, {high}]"
    shown = "" if verdict == "confirmed" else f"; {shown_effect(found, one)}"
    if verdict == "refuted" and test and test.claimed:  # claimed for some, shown for all
        shown += " for each pair of data and network"
    return f"{part.title} {effect}; {place}, {fmt.plural(one.test.n, 'seed')}{shown}"
