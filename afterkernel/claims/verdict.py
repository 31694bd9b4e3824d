"""From samples to verdicts: all comparisons of a claim tested together, and the rule of each part applied.

A comparison is shown to hold, or not to, by its joint p-value, which covers all comparisons of the claim. What all
comparisons must show together needs no correction (an intersection-union test), and what contradicts a comparison at
another rate or loss of its pair of data and network counts by its own p-value, so that a contradiction is not missed.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from afterkernel.claims.claim import Claim, Part, Sample
from afterkernel.claims.equal_loss import differing
from afterkernel.claims.inference import LEVEL, Inference, infer_jointly
from afterkernel.text import plural

if TYPE_CHECKING:
    import pandas as pd

DEPENDS_ON_RATE: Literal["depends on the learning rate"] = "depends on the learning rate"
DEPENDS_ON_LOSS: Literal["depends on the training loss"] = "depends on the training loss"
Verdict = Literal[
    "confirmed",
    "refuted",
    "depends on the learning rate",
    "depends on the training loss",
    "undecided",
    "not measured",
]
# Verdicts that something has been shown, which further runs may change.
SHOWN: tuple[Verdict, ...] = ("confirmed", "refuted", DEPENDS_ON_RATE, DEPENDS_ON_LOSS)


class ComparisonOutcome(enum.Enum):
    """Where the effect of a comparison is shown to lie: in the region of its part, outside it, or neither."""

    HOLDS = "shown to hold"
    FAILS = "shown not to hold"
    OPEN = "open"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A sample with its test and the outcome; `reason` says why it is open."""

    sample: Sample
    test: Inference
    outcome: ComparisonOutcome
    reason: str

    @property
    def holds_alone(self) -> bool:
        """Whether it holds by its own p-value, without regard to the other comparisons."""
        return self.test.p_holds is not None and self.test.p_holds < LEVEL

    @property
    def fails_alone(self) -> bool:
        """Whether it fails by its own p-value, without regard to the other comparisons."""
        return self.test.p_fails is not None and self.test.p_fails < LEVEL


@dataclasses.dataclass(frozen=True)
class Pair:
    """The comparisons of one pair of data and network, and what they show together."""

    comparisons: list[Comparison]

    @property
    def holds(self) -> bool:
        """Whether one is shown to hold, and none to fail."""
        return self._shown(ComparisonOutcome.HOLDS) and not any(one.fails_alone for one in self.comparisons)

    @property
    def fails(self) -> bool:
        """Whether one is shown not to hold, and none to hold."""
        return self._shown(ComparisonOutcome.FAILS) and not any(one.holds_alone for one in self.comparisons)

    @property
    def depends(self) -> bool:
        """Whether one is shown to hold or not to, and another does the opposite."""
        shown = self._shown(ComparisonOutcome.HOLDS, ComparisonOutcome.FAILS)
        return shown and not self.holds and not self.fails

    def _shown(self, *outcomes: ComparisonOutcome) -> bool:
        return any(one.outcome in outcomes for one in self.comparisons)


def pairs_of(comparisons: Iterable[Comparison]) -> list[Pair]:
    """The comparisons by pair of data and network; those that can't be made count only where a pair has no other."""
    by_pair: dict[tuple[str, str], list[Comparison]] = {}
    for one in comparisons:
        by_pair.setdefault(one.sample.pair, []).append(one)
    return [Pair([one for one in found if not one.sample.obstacle] or found) for found in by_pair.values()]


@dataclasses.dataclass(frozen=True)
class DecidingTest:
    """The test by which a comparison counts: for an `effect`, which is the claimed one or its opposite.

    `p` is corrected over all comparisons of the claim if `joint`; what all comparisons must show counts by its own.
    """

    p: float
    effect: str
    claimed: bool
    joint: bool

    @property
    def shown(self) -> bool:
        """Whether the effect is shown."""
        return self.p < LEVEL


@dataclasses.dataclass(frozen=True)
class PartFinding:
    """A part with its comparisons and verdict. `decisive` is the comparison on which the verdict depends, if any."""

    part: Part
    comparisons: list[Comparison]
    verdict: Verdict
    reason: str
    decisive: Comparison | None

    @property
    def pairs(self) -> list[Pair]:
        """The pairs of data and network, each with its comparisons."""
        return pairs_of(self.comparisons)

    def deciding_test(self, one: Comparison) -> DecidingTest | None:
        """The test by which a comparison of this part counts, None if it is not tested.

        Of an open comparison it is that of the effect with the smaller p-value, which its values point to.
        """
        test, region, quantifier = one.test, self.part.region, self.part.quantifier
        together = self.verdict == "refuted" and quantifier in ("some", "some but not all")
        holds_alone = quantifier == "all" or (together and quantifier == "some but not all")
        p_holds = test.p_holds if holds_alone else test.p_holds_joint
        p_fails = test.p_fails if together else test.p_fails_joint
        if p_holds is None or p_fails is None:
            return None
        holds = DecidingTest(p_holds, region.effect, True, not holds_alone)
        fails = DecidingTest(p_fails, region.opposite, False, not together)
        shown = {ComparisonOutcome.HOLDS: holds, ComparisonOutcome.FAILS: fails}
        # Joint p-values of effects on both sides are often 1: their own then tell which is nearer.
        nearer = holds if (p_holds, test.p_holds) <= (p_fails, test.p_fails) else fails
        return shown.get(one.outcome, nearer)

    @property
    def decisive_pair(self) -> list[Comparison]:
        """The comparisons of the pair of data and network on which the verdict depends, at all its rates and losses."""
        if self.decisive is None:
            return []
        return [one for one in self.comparisons if one.sample.pair == self.decisive.sample.pair]


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
        """The part on which the verdict depends: see `decisive_of`."""
        return decisive_of(self.parts, self.verdict)


def decisive_of(parts: Sequence[PartFinding], verdict: Verdict) -> PartFinding | None:
    """The part on which the verdict of several depends, None if nothing was measured.

    The weakest one if confirmed. If undecided the one that prevents a decision: an undecided part, if possible one
    whose decisive comparison could be tested, else one that is not measured. Otherwise the first with the same verdict.
    """
    measured = [part for part in parts if part.decisive is not None]
    agreeing = [part for part in measured if part.verdict == verdict]
    if verdict == "confirmed":
        return max(agreeing, key=lambda part: (part.decisive and part.decisive.test.p_holds) or 0.0)
    if verdict == "undecided":
        tested = [part for part in agreeing if part.decisive and part.decisive.test.p_holds is not None]
        return next(iter(tested or agreeing or [part for part in parts if part.decisive is None]), None)
    return agreeing[0] if agreeing else None


def judge(claim: Claim, rows: pd.DataFrame) -> Finding:
    """The verdict of these rows (see `Claim.parts`) on a claim.

    A claim is confirmed if all its parts are, and refuted if one of them is; else it depends on the learning rate or
    the training loss if one of them does.
    """
    parts = claim.parts(rows)
    samples = [sample for part in parts for sample in part.samples]
    tests = infer_jointly(samples, [part.region for part in parts for _ in part.samples])
    comparisons = iter([_compare(sample, test) for sample, test in zip(samples, tests, strict=True)])
    findings = [_judge_part(part, [next(comparisons) for _ in part.samples]) for part in parts]
    verdict, reason = combined(findings)
    return Finding(claim, verdict, reason, findings, differing(samples))


def _compare(sample: Sample, test: Inference) -> Comparison:
    outcome, reason = ComparisonOutcome.OPEN, test.obstacle
    if test.p_holds_joint is not None and test.p_holds_joint < LEVEL:
        outcome = ComparisonOutcome.HOLDS
    elif test.p_fails_joint is not None and test.p_fails_joint < LEVEL:
        outcome = ComparisonOutcome.FAILS
    elif not test.obstacle and test.p_holds is not None and test.p_fails is not None:
        alone = min(test.p_holds, test.p_fails) < LEVEL
        reason = "significant alone, not among all comparisons of the claim" if alone else "not significant"
    return Comparison(sample, test, outcome, reason)


def _judge_part(part: Part, comparisons: list[Comparison]) -> PartFinding:
    if not comparisons:
        return PartFinding(part, [], "not measured", part.missing, None)
    pairs = pairs_of(comparisons)
    verdict = _verdict(part, pairs)
    return PartFinding(part, comparisons, verdict, _reason(part, pairs, verdict), _decisive(part, pairs, verdict))


def _verdict(part: Part, pairs: Sequence[Pair]) -> Verdict:
    counted = [one for pair in pairs for one in pair.comparisons]
    holding, failing, depending = (sum(getattr(pair, name) for pair in pairs) for name in ("holds", "fails", "depends"))
    all_hold, all_fail = (all(getattr(one, f"{name}_alone") for one in counted) for name in ("holds", "fails"))
    half = len(pairs) / 2
    depends = depending > 0
    if part.quantifier == "all":
        confirmed, refuted = all_hold, failing > 0
    elif part.quantifier == "some":
        confirmed, refuted = holding > 0, all_fail
    elif part.quantifier == "some but not all":
        confirmed, refuted = holding > 0 and failing > 0, len(pairs) > 1 and (all_hold or all_fail)
    else:
        confirmed, refuted = holding > half and not failing, failing > half
        # Only where it decides: a few pairs that depend say little of what holds for most.
        depends = depends and max(holding, failing) + depending > half
    if confirmed or refuted:
        return "confirmed" if confirmed else "refuted"
    return _depends_on(pairs) if depends else "undecided"


def _depends_on(pairs: Iterable[Pair]) -> Verdict:
    """The learning rate, unless each pair that depends does so at one rate."""
    rates = [{one.sample.rate for one in pair.comparisons} for pair in pairs if pair.depends]
    return DEPENDS_ON_RATE if any(len(found) > 1 for found in rates) else DEPENDS_ON_LOSS


def _reason(part: Part, pairs: Sequence[Pair], verdict: Verdict) -> str:
    counted = [one for pair in pairs for one in pair.comparisons]
    if verdict == ("confirmed" if part.quantifier == "all" else "refuted") and part.quantifier != "most":
        if all(one.holds_alone for one in counted):
            return _in_each(len(counted), "holds", "hold")
        if all(one.fails_alone for one in counted):
            return _in_each(len(counted), "fails", "fail")
    holds, fails, unclear = ([one for one in counted if one.outcome is outcome] for outcome in ComparisonOutcome)
    # What all comparisons must show counts by their own p-values.
    alone = [one for one in unclear if part.quantifier == "all" and one.holds_alone]
    if alone:
        holds, unclear = holds + alone, [one for one in unclear if not one.holds_alone]
    if len(unclear) == len(counted) and len({one.reason for one in unclear}) == 1 and counted[0].sample.obstacle:
        return counted[0].reason
    by_own = " by their own p-values" if alone else ""
    texts = [f"holds in {len(holds)} of {plural(len(counted), 'comparison')}{by_own}"]
    if fails:
        texts.append(f"does not hold in {len(fails)} ({_names(fails)})")
    if unclear and verdict != "confirmed":
        texts.append(f"open in {len(unclear)} ({_reasons(unclear)})")
    if depending := [pair.comparisons[0] for pair in pairs if pair.depends]:
        texts.append(f"both ways within {_names(depending, place=False)}")
    if part.quantifier == "some but not all" and len(pairs) == 1:
        texts.append("one pair alone cannot show that it holds in some and not in others")
    return ", ".join(texts)


def _decisive(part: Part, pairs: Sequence[Pair], verdict: Verdict) -> Comparison:
    """The weakest that holds where all must hold; else the strongest for the verdict; if undecided, see `_blocking`."""

    # First the p-value that counts. Sign flips of few seeds have few of these: Student's order those that are equal.
    def p_holds(one: Comparison) -> list[float]:
        test = one.test
        first = test.p_holds if part.quantifier == "all" else test.p_holds_joint
        return [_or_infinite(p) for p in (first, test.p_holds, test.p_holds_t)]

    def p_fails(one: Comparison) -> list[float]:
        return [_or_infinite(p) for p in (one.test.p_fails_joint, one.test.p_fails, one.test.p_fails_t)]

    def clearest(one: Comparison) -> list[float]:
        return min(p_holds(one), p_fails(one))

    counted = [one for pair in pairs for one in pair.comparisons]
    if verdict == "confirmed" and part.quantifier == "all":
        return max(counted, key=p_holds)
    if verdict in (DEPENDS_ON_RATE, DEPENDS_ON_LOSS):
        return min((one for pair in pairs if pair.depends for one in pair.comparisons), key=clearest)
    if verdict == "confirmed":
        return min((one for pair in pairs if pair.holds for one in pair.comparisons), key=p_holds)
    if verdict == "refuted":
        failing = [one for pair in pairs if pair.fails for one in pair.comparisons]
        return min(failing or counted, key=p_fails if failing or counted[0].fails_alone else p_holds)
    return min(_blocking(part, pairs) or counted, key=clearest)


def _in_each(comparisons: int, singular: str, plural_form: str) -> str:
    """What all comparisons show together, which counts by the p-value of each."""
    if comparisons == 2:
        return f"both comparisons {plural_form} by their own p-values"
    return f"{'the only' if comparisons == 1 else 'every'} comparison {singular} by its own p-value"


def _blocking(part: Part, pairs: Sequence[Pair]) -> list[Comparison]:
    """The comparisons that keep an undecided part from a verdict: those that are open, of pairs that are."""
    if part.quantifier == "all":
        return [one for pair in pairs for one in pair.comparisons if not one.holds_alone]
    undecided = [pair for pair in pairs if not pair.holds and not pair.fails]
    unclear = [one for pair in undecided for one in pair.comparisons if one.outcome is ComparisonOutcome.OPEN]
    against = [one for pair in pairs if pair.fails for one in pair.comparisons] if part.quantifier == "most" else []
    return unclear or against


def _reasons(unclear: Sequence[Comparison]) -> str:
    """Why comparisons are open: the reason if all share it, else each reason with its comparisons."""
    by_reason: dict[str, list[Comparison]] = {}
    for one in unclear:
        by_reason.setdefault(one.reason, []).append(one)
    if len(by_reason) == 1:
        return unclear[0].reason
    names = {
        reason: _names(found).replace("; and ", " and ").replace("; ", " and ") for reason, found in by_reason.items()
    }
    return "; ".join(f"{found}: {reason}" for reason, found in names.items())


def _or_infinite(p_value: float | None) -> float:
    return math.inf if p_value is None else p_value


def combined(parts: Sequence[PartFinding]) -> tuple[Verdict, str]:
    """The verdict on all parts together, and its reason."""
    titles: dict[Verdict, list[str]] = {}
    for part in parts:
        titles.setdefault(part.verdict, []).append(part.part.title)
    if len(parts) == 1:
        return parts[0].verdict, parts[0].reason
    if len(titles) == 1:
        every = "both parts" if len(parts) == 2 else f"all {len(parts)} parts"
        reasons = "; ".join(dict.fromkeys(part.reason for part in parts))
        if parts[0].verdict == "not measured":
            return parts[0].verdict, reasons
        first = decisive_of(parts, parts[0].verdict) or parts[0]
        example = "" if parts[0].verdict == "confirmed" else f"; {first.part.title}: {first.reason}"
        return parts[0].verdict, f"{every}: {parts[0].verdict}{example}"
    listed = "; ".join(f"{verdict}: {', '.join(found)}" for verdict, found in titles.items())
    return next((verdict for verdict in SHOWN[1:] if verdict in titles), "undecided"), listed


def _names(comparisons: Sequence[Comparison], *, place: bool = True) -> str:
    names = [
        ", ".join(filter(None, (f"{one.sample.data} {one.sample.network}", one.sample.place if place else "")))
        for one in comparisons
    ]
    return "; ".join(names[:3]) + (f"; and {len(names) - 3} more" if len(names) > 3 else "")
