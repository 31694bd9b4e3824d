"""The verdicts at a glance: one row per claim and one per part, with the comparison on which each depends."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from afterkernel import text as fmt
from afterkernel.claims import Comparison, Finding, PartFinding
from afterkernel.report.claim_table import differs, interval
from afterkernel.report.explanations import direction, p_text, place_of

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class VerdictRow:
    """A claim or a part: its verdict, and effect, interval and test of the comparison on which that depends.

    `direction` says how to read the sign of the effect. `test` names the test and its p-value, or says why there is
    none, and `outcome` what it shows; `reason` is why the verdict is this one. Texts are empty where nothing was
    measured.
    """

    title: str
    verdict: str
    reason: str
    effect: str = ""
    unit: str = ""
    interval: str = ""
    direction: str = ""
    test: str = ""
    outcome: str = ""
    where: str = ""


def overview(finding: Finding) -> VerdictRow:
    """The row of a claim: that of the part on which its verdict depends."""
    if (part := finding.decisive) is None:
        return VerdictRow(finding.claim.name.upper(), finding.verdict, finding.reason)
    title = part.part.title if len(finding.parts) > 1 else ""
    if part.decisive is None:
        reason = f"the part '{title}' is not measured: {part.reason}"
        return VerdictRow(title, finding.verdict, reason)
    return dataclasses.replace(part_row(part), title=title, verdict=finding.verdict, reason=finding.reason)


def part_row(found: PartFinding) -> VerdictRow:
    """The row of a part."""
    row, one = VerdictRow(found.part.title, found.verdict, found.reason), found.decisive
    if one is None or one.test.mean is None:
        return row
    decimals = found.part.decimals
    test, outcome = _test(found, one)
    return dataclasses.replace(
        row,
        effect=fmt.number(one.test.mean, decimals, sign=differs(found.part)),
        unit=found.part.unit,
        interval="" if one.test.low is None else interval(one.test.low, one.test.high, decimals),
        direction=direction(found.part),
        test=test,
        outcome=outcome,
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
    deciding = part.deciding_test(one) if one else None
    return row | {
        "data": sample and sample.data,
        "network": sample and sample.network,
        "learning_rate": sample and sample.rate,
        "loss": sample and sample.loss,
        "n_seeds": test and test.n,
        "effect": test and test.mean,
        "student95_low": test and test.low,
        "student95_high": test and test.high,
        "p": deciding and deciding.p,
        "p_of": deciding.effect if deciding else "",
        "p_joint": deciding and deciding.joint,
    }


def _test(found: PartFinding, one: Comparison) -> tuple[str, str]:
    """The test as text, "lower: p = 0.012", and what it shows."""
    test = found.deciding_test(one)
    if test is None:
        return "not tested", one.reason
    corrected = "all comparisons of the claim together" if test.joint else "this comparison by itself"
    return f"{test.effect}: {p_text(test.p)}", f"{'shown' if test.shown else 'not shown'}; {corrected}"
