"""From samples to verdicts: each comparison tested, corrected over the whole claim, and the claim's rule applied."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from afterkernel.claims.hypothesis import Hypothesis, Part, Sample
from afterkernel.claims.inference import LEVEL, Inference, holm, infer

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["confirmed", "refuted", "undecided", "not measured"]
State = Literal["for", "against", "open"]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A sample with its test, its p-values after Holm's correction, and where that leaves it.

    `state` is "for" where the effect is shown to lie in the region of its part, "against" where it is shown to lie
    outside, else "open", for the `reason` in words.
    """

    sample: Sample
    test: Inference
    holm_for: float | None
    holm_against: float | None
    state: State
    reason: str


@dataclasses.dataclass(frozen=True)
class PartFinding:
    """A part with its comparisons and verdict. `decisive` is the comparison that the verdict hangs on, where any is."""

    part: Part
    comparisons: list[Comparison]
    verdict: Verdict
    reason: str
    decisive: Comparison | None


@dataclasses.dataclass(frozen=True)
class Finding:
    """The verdict on a claim, and on each of its parts."""

    hypothesis: Hypothesis
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
        """The part that the verdict hangs on, of those with a comparison that tells: the weakest one if confirmed."""
        decided = [part for part in self.parts if part.decisive is not None]
        agreeing = [part for part in decided if part.verdict == self.verdict] or decided
        if self.verdict == "confirmed":
            return max(agreeing, key=lambda part: (part.decisive and part.decisive.test.p_for) or 0.0)
        return agreeing[0] if agreeing else None


def judge(hypothesis: Hypothesis, rows: pd.DataFrame) -> Finding:
    """The verdict of these rows (see `Hypothesis.parts`) on a claim.

    Holm's correction runs over all comparisons of the claim, once over those that may be shown to hold and once over
    those that may be shown not to, at 2.5 % each: the chance that any is shown wrongly is at most 5 %. A claim is
    confirmed where each of its parts is, refuted where one of them is.
    """
    parts = hypothesis.parts(rows)
    tests = [[infer(sample.values, part.region) for sample in part.samples] for part in parts]
    flat = [one for several in tests for one in several]
    corrected_for, corrected_against = _corrected([one.p_for for one in flat]), _corrected([x.p_against for x in flat])
    findings, place = [], 0
    for part, several in zip(parts, tests, strict=True):
        comparisons = []
        for sample, one in zip(part.samples, several, strict=True):
            comparisons.append(_compare(sample, one, corrected_for[place], corrected_against[place]))
            place += 1
        findings.append(_judge_part(part, comparisons))
    verdict, reason = _whole(findings)
    remark = hypothesis.remark(rows) if flat else ""
    return Finding(hypothesis, verdict, reason, findings, remark)


def _corrected(p_values: list[float | None]) -> list[float | None]:
    known = [p for p in p_values if p is not None]
    corrected = iter(holm(known))
    return [None if p is None else next(corrected) for p in p_values]


def _compare(sample: Sample, one: Inference, holm_for: float | None, holm_against: float | None) -> Comparison:
    state: State = "open"
    reason = one.obstacle
    if holm_for is not None and holm_for < LEVEL:
        state = "for"
    elif holm_against is not None and holm_against < LEVEL:
        state = "against"
    elif one.p_for is not None and one.p_against is not None:
        before = min(one.p_for, one.p_against) < LEVEL
        reason = "not after the correction for several tests" if before else "the interval leaves it open"
    return Comparison(sample, one, holm_for, holm_against, state, reason)


def _judge_part(part: Part, comparisons: list[Comparison]) -> PartFinding:
    if not comparisons:
        return PartFinding(part, [], "not measured", part.missing, None)
    by_state = {state: [one for one in comparisons if one.state == state] for state in ("for", "against", "open")}
    shown, against, n = len(by_state["for"]), len(by_state["against"]), len(comparisons)
    verdict: Verdict = "undecided"
    if part.quantifier == "all":
        verdict = "refuted" if against else "confirmed" if shown == n else "undecided"
    elif part.quantifier == "some":
        verdict = "confirmed" if shown else "refuted" if against == n else "undecided"
    elif n > 1:
        verdict = "confirmed" if shown and against else "refuted" if n in (shown, against) else "undecided"
    return PartFinding(part, comparisons, verdict, _reason(by_state, n, part), _telling(part, by_state, verdict))


def _reason(by_state: dict[str, list[Comparison]], n: int, part: Part) -> str:
    words = [f"holds in {len(by_state['for'])} of {n}"]
    if by_state["against"]:
        words.append(f"does not in {len(by_state['against'])} ({_names(by_state['against'])})")
    if by_state["open"]:
        reasons = dict.fromkeys(one.reason for one in by_state["open"])
        words.append(f"open in {len(by_state['open'])} ({'; '.join(list(reasons)[:2])})")
    if part.quantifier == "some but not all" and n == 1:
        words.append("one pair alone cannot show that it is so in some and not in others")
    return ", ".join(words)


def _telling(part: Part, by_state: dict[str, list[Comparison]], verdict: Verdict) -> Comparison | None:
    """Where all must hold, the weakest that does; else the strongest for the verdict; undecided, the clearest."""

    def p_for(one: Comparison) -> float:
        return 2.0 if one.test.p_for is None else one.test.p_for

    def p_against(one: Comparison) -> float:
        return 2.0 if one.test.p_against is None else one.test.p_against

    if verdict == "refuted" and by_state["against"]:
        return min(by_state["against"], key=p_against)
    if verdict == "confirmed" and part.quantifier == "all":
        return max(by_state["for"], key=p_for)
    if by_state["for"] and verdict != "undecided":
        return min(by_state["for"], key=p_for)
    everything = [one for several in by_state.values() for one in several]
    if part.quantifier == "all" and by_state["open"]:
        everything = by_state["open"]
    return min(everything, key=lambda one: min(p_for(one), p_against(one)))


def _whole(parts: list[PartFinding]) -> tuple[Verdict, str]:
    by: dict[str, list[str]] = {}
    for part in parts:
        by.setdefault(part.verdict, []).append(part.part.title)
    if len(by) == 1:
        verdict = parts[0].verdict
        single = parts[0].reason if len(parts) == 1 else f"{'both' if len(parts) == 2 else 'all'} parts are {verdict}"
        return verdict, single
    verdict = "refuted" if "refuted" in by else "undecided"
    return verdict, "; ".join(f"{state}: {', '.join(titles)}" for state, titles in by.items())


def _names(comparisons: list[Comparison]) -> str:
    names = [f"{one.sample.data} {one.sample.network}" for one in comparisons]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
