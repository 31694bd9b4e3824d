"""From samples to verdicts: each comparison tested, corrected over the whole claim, and the claim's rule applied."""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import TYPE_CHECKING, Literal

from afterkernel.claims.claim import Claim, Part, Sample
from afterkernel.claims.inference import LEVEL, Inference, holm, infer

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["confirmed", "refuted", "undecided", "not measured"]


class ComparisonOutcome(enum.Enum):
    """Where the effect of a comparison is shown to lie: in the region of its part, outside it, or neither."""

    HOLDS = "shown to hold"
    FAILS = "shown not to hold"
    OPEN = "open"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A sample with its test, its p-values after Holm's correction, and the outcome; `reason` says why it is open."""

    sample: Sample
    test: Inference
    p_holds_holm: float | None
    p_fails_holm: float | None
    outcome: ComparisonOutcome
    reason: str


@dataclasses.dataclass(frozen=True)
class PartFinding:
    """A part with its comparisons and verdict. `decisive` is the comparison on which the verdict depends, if any."""

    part: Part
    comparisons: list[Comparison]
    verdict: Verdict
    reason: str
    decisive: Comparison | None


@dataclasses.dataclass(frozen=True)
class Finding:
    """The verdict on a claim, and on each of its parts."""

    claim: Claim
    verdict: Verdict
    reason: str
    parts: list[PartFinding]
    remark: str = ""

    @property
    def comparisons(self) -> list[tuple[Part, Comparison]]:
        """All comparisons, each with its part."""
        return [(part.part, one) for part in self.parts for one in part.comparisons]

    @property
    def decisive(self) -> PartFinding | None:
        """The part on which the verdict depends, of those with a decisive comparison: the weakest one if confirmed."""
        decided = [part for part in self.parts if part.decisive is not None]
        agreeing = [part for part in decided if part.verdict == self.verdict] or decided
        if self.verdict == "confirmed":
            return max(agreeing, key=lambda part: (part.decisive and part.decisive.test.p_holds) or 0.0)
        return agreeing[0] if agreeing else None


def judge(claim: Claim, rows: pd.DataFrame) -> Finding:
    """The verdict of these rows (see `Claim.parts`) on a claim.

    Holm's correction runs over all comparisons of the claim, once over the p-values for holding and once over those for
    failing, at 2.5 % each: the chance that any comparison is shown wrongly is at most 5 %. A claim is confirmed if all
    its parts are, and refuted if one of them is.
    """
    parts = claim.parts(rows)
    tests = [(sample, infer(sample.values, part.region)) for part in parts for sample in part.samples]
    holds, fails = (_corrected([getattr(test, name) for _, test in tests]) for name in ("p_holds", "p_fails"))
    comparisons = iter([_compare(*test, *p_values) for test, *p_values in zip(tests, holds, fails, strict=True)])
    findings = [_judge_part(part, [next(comparisons) for _ in part.samples]) for part in parts]
    verdict, reason = _combined(findings)
    return Finding(claim, verdict, reason, findings, claim.remark(rows) if tests else "")


def _corrected(p_values: list[float | None]) -> list[float | None]:
    corrected = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(corrected) for p in p_values]


def _compare(sample: Sample, test: Inference, p_holds: float | None, p_fails: float | None) -> Comparison:
    outcome, reason = ComparisonOutcome.OPEN, test.obstacle
    if p_holds is not None and p_holds < LEVEL:
        outcome = ComparisonOutcome.HOLDS
    elif p_fails is not None and p_fails < LEVEL:
        outcome = ComparisonOutcome.FAILS
    elif test.p_holds is not None and test.p_fails is not None:
        uncorrected = min(test.p_holds, test.p_fails) < LEVEL
        reason = "not significant after correction for several tests" if uncorrected else "not significant"
    return Comparison(sample, test, p_holds, p_fails, outcome, reason)


def _judge_part(part: Part, comparisons: list[Comparison]) -> PartFinding:
    if not comparisons:
        return PartFinding(part, [], "not measured", part.missing, None)
    by_outcome = {outcome: [one for one in comparisons if one.outcome is outcome] for outcome in ComparisonOutcome}
    hold, fail, n = (
        len(by_outcome[ComparisonOutcome.HOLDS]),
        len(by_outcome[ComparisonOutcome.FAILS]),
        len(comparisons),
    )
    verdict: Verdict = "undecided"
    if part.quantifier == "all":
        verdict = "refuted" if fail else "confirmed" if hold == n else "undecided"
    elif part.quantifier == "some":
        verdict = "confirmed" if hold else "refuted" if fail == n else "undecided"
    elif n > 1:
        verdict = "confirmed" if hold and fail else "refuted" if n in (hold, fail) else "undecided"
    return PartFinding(part, comparisons, verdict, _reason(by_outcome, n, part), _decisive(part, by_outcome, verdict))


def _reason(by_outcome: dict[ComparisonOutcome, list[Comparison]], n: int, part: Part) -> str:
    holds, fails, unclear = (by_outcome[outcome] for outcome in ComparisonOutcome)
    texts = [f"holds in {len(holds)} of {n}"]
    if fails:
        texts.append(f"does not hold in {len(fails)} ({_names(fails)})")
    if unclear:
        reasons = list(dict.fromkeys(one.reason for one in unclear))
        texts.append(f"open in {len(unclear)} ({'; '.join(reasons[:2])})")
    if part.quantifier == "some but not all" and n == 1:
        texts.append("one pair alone cannot show that it holds in some and not in others")
    return ", ".join(texts)


def _decisive(part: Part, by_outcome: dict[ComparisonOutcome, list[Comparison]], verdict: Verdict) -> Comparison:
    """The weakest that holds where all must hold; else the strongest for the verdict; if undecided, the clearest."""

    def p_holds(one: Comparison) -> float:
        return math.inf if one.test.p_holds is None else one.test.p_holds

    def p_fails(one: Comparison) -> float:
        return math.inf if one.test.p_fails is None else one.test.p_fails

    holds, fails, unclear = (by_outcome[outcome] for outcome in ComparisonOutcome)
    if verdict == "refuted" and fails:
        return min(fails, key=p_fails)
    if verdict == "confirmed" and part.quantifier == "all":
        return max(holds, key=p_holds)
    if holds and verdict != "undecided":
        return min(holds, key=p_holds)
    candidates = unclear if part.quantifier == "all" and unclear else [*holds, *fails, *unclear]
    return min(candidates, key=lambda one: min(p_holds(one), p_fails(one)))


def _combined(parts: list[PartFinding]) -> tuple[Verdict, str]:
    titles: dict[str, list[str]] = {}
    for part in parts:
        titles.setdefault(part.verdict, []).append(part.part.title)
    if len(parts) == 1:
        return parts[0].verdict, parts[0].reason
    if len(titles) == 1:
        return parts[0].verdict, f"{'both' if len(parts) == 2 else 'all'} parts are {parts[0].verdict}"
    listed = "; ".join(f"{verdict}: {', '.join(found)}" for verdict, found in titles.items())
    return "refuted" if "refuted" in titles else "undecided", listed


def _names(comparisons: list[Comparison]) -> str:
    names = [f"{one.sample.data} {one.sample.network}" for one in comparisons]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
