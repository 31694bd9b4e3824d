"""The verdicts at a glance: one row per claim and one per part, with the comparison on which each depends."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from afterkernel import text as fmt
from afterkernel.claims import Comparison, ComparisonOutcome, Finding, PartFinding
from afterkernel.report.claim_table import differs, interval
from afterkernel.report.explanations import place_of

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class VerdictRow:
    """A claim or a part: its verdict, and effect, interval and p-value of the comparison on which that depends.

    `p_of` says what the p-value tests; texts are empty where nothing was measured.
    """

    title: str
    verdict: str
    reason: str
    effect: str = ""
    unit: str = ""
    interval: str = ""
    p_value: str = ""
    p_of: str = ""
    where: str = ""


def overview(finding: Finding) -> VerdictRow:
    """The row of a claim: that of the part on which its verdict depends."""
    if (part := finding.decisive) is None:
        return VerdictRow(finding.claim.name.upper(), finding.verdict, finding.reason)
    title = part.part.title if len(finding.parts) > 1 else ""
    return dataclasses.replace(part_row(part), title=title, verdict=finding.verdict, reason=finding.reason)


def part_row(found: PartFinding) -> VerdictRow:
    """The row of a part."""
    row, one = VerdictRow(found.part.title, found.verdict, found.reason), found.decisive
    if one is None or one.test.mean is None:
        return row
    decimals = found.part.decimals
    p_value, p_of = _p_value(found, one)
    return dataclasses.replace(
        row,
        effect=fmt.number(one.test.mean, decimals, sign=differs(found.part)),
        unit=found.part.unit,
        interval="" if one.test.low is None else interval(one.test.low, one.test.high, decimals),
        p_value="" if p_value is None else fmt.p_value(p_value),
        p_of=p_of,
        where=f"{place_of(one)}, n = {one.test.n}",
    )


def verdict_frame(findings: Iterable[Finding]) -> pd.DataFrame:
    """The verdicts, unrounded: one row per claim and part, with the comparison on which the part's verdict depends."""
    import pandas as pd

    return pd.DataFrame([_row(finding, part) for finding in findings for part in finding.parts])


def _row(finding: Finding, part: PartFinding) -> dict[str, object]:
    one = part.decisive
    row: dict[str, object] = {
        "claim": finding.claim.name,
        "claim_verdict": finding.verdict,
        "part": part.part.title,
        "part_verdict": part.verdict,
        "decides_claim": part is finding.decisive,
        "reason": part.reason,
        "unit": part.part.unit,
    }
    test, sample = (one.test, one.sample) if one else (None, None)
    p_value, p_of = _p_value(part, one) if one else (None, "")
    return row | {
        "data": sample and sample.data,
        "network": sample and sample.network,
        "learning_rate": sample and sample.rate,
        "loss": sample and sample.loss,
        "n_seeds": test and test.n,
        "effect": test and test.mean,
        "student95_low": test and test.low,
        "student95_high": test and test.high,
        "p": p_value,
        "p_of": p_of,
    }


def _p_value(found: PartFinding, one: Comparison) -> tuple[float | None, str]:
    """The p-value that decides, and what it tests: jointly, or alone where all comparisons must show the same."""
    test = one.test
    if found.verdict == "confirmed" and found.part.quantifier == "all":
        return test.p_holds, "holds, alone"
    if test.p_holds_joint is None or test.p_fails_joint is None:
        return None, ""
    fails = one.outcome is ComparisonOutcome.FAILS or (
        one.outcome is ComparisonOutcome.OPEN and test.p_fails_joint < test.p_holds_joint
    )
    return (test.p_fails_joint, "does not hold") if fails else (test.p_holds_joint, "holds")
