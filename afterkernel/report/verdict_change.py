"""What would change a verdict: the comparison on which it depends, and the seeds that an open one needs."""

from __future__ import annotations

from collections.abc import Iterable

from afterkernel import text as fmt
from afterkernel.claims import Comparison, ComparisonOutcome, Finding, PartFinding
from afterkernel.report.power import powers


def what_would_change(finding: Finding) -> list[str]:
    """One sentence per part of which something was measured."""
    measured = [part for part in finding.parts if part.verdict != "not measured"]
    needed = {id(one.comparison): one.needed for one in powers([finding])}
    return [f"{part.part.title[0].upper()}{part.part.title[1:]}: {_sentence(part, needed)}" for part in measured]


def _sentence(found: PartFinding, needed: dict[int, int | None]) -> str:
    fails = [one for one in found.comparisons if one.outcome is ComparisonOutcome.FAILS]
    if found.verdict == "confirmed":
        weakest = max(found.comparisons, key=lambda one: -1.0 if one.test.p_holds is None else one.test.p_holds)
        return f"it would no longer be confirmed if {_where(weakest)} were shown not to hold ({_p(weakest)})."
    if found.verdict == "refuted" and fails:
        return f"it would no longer be refuted without {_listed(fails)}, where the opposite is shown."
    if found.verdict == "refuted":
        return "it would no longer be refuted if a comparison were shown to hold and another not to hold."
    if found.verdict.startswith("depends"):
        shown = [one for one in found.decisive_pair if one.outcome is not ComparisonOutcome.OPEN]
        return f"it would be decided if the effect had one sign throughout, which {_listed(shown)} contradict now."
    tested = [
        one for one in found.comparisons if one.outcome is ComparisonOutcome.OPEN and one.test.p_holds is not None
    ]
    if not tested:
        return f"it needs comparisons that can be tested ({found.reason})."
    clearest = min(tested, key=lambda one: min(one.test.p_holds or 0.0, one.test.p_fails or 0.0))
    seeds = needed.get(id(clearest))
    wanted = (
        "no number of seeds shows an effect of this size on these images" if seeds is None else _seeds(clearest, seeds)
    )
    return f"of the open comparisons the clearest is {_where(clearest)} ({_p(clearest)}): {wanted}."


def _seeds(one: Comparison, seeds: int) -> str:
    if seeds <= one.test.n:
        return f"{one.test.n} seeds show an effect of this size in 80 % of sweeps"
    return f"an effect of this size would need {seeds} seeds to be shown in 80 % of sweeps"


def _where(one: Comparison) -> str:
    return ", ".join(filter(None, (one.sample.data, one.sample.network, one.sample.place)))


def _listed(comparisons: Iterable[Comparison]) -> str:
    names = [_where(one) for one in comparisons]
    return "; ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _p(one: Comparison) -> str:
    test = one.test
    if test.p_holds_joint is None or test.p_fails_joint is None:
        return test.obstacle
    return f"p = {fmt.p_value(test.p_holds_joint)} that it holds, {fmt.p_value(test.p_fails_joint)} that it does not"
