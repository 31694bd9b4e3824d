"""Verdicts explained: why a claim has its verdict, and what would change it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from afterkernel import text as fmt
from afterkernel.claims import Comparison, ComparisonOutcome, Finding, PartFinding
from afterkernel.claims.verdict import Pair
from afterkernel.report.power import power_of

if TYPE_CHECKING:
    from afterkernel.claims.claim import Part

# What a part needs to be confirmed, by its quantifier.
_NEEDS = {
    "all": "every comparison must hold",
    "some": "one pair of data and network must hold",
    "most": "more than half of the pairs of data and network must hold, and none may fail",
    "some but not all": "one pair of data and network must hold, and another must fail",
}


def why(finding: Finding) -> str:
    """Why a claim has its verdict, by the part on which that depends."""
    if finding.verdict == "not measured":
        return _sentence("; ".join(dict.fromkeys(part.reason for part in finding.parts)))
    part = finding.decisive or finding.parts[0]
    if len(finding.parts) == 1:
        return _sentence(_why(part))
    if finding.verdict == "confirmed":
        every = "Both parts" if len(finding.parts) == 2 else f"All {len(finding.parts)} parts"
        return f"{every} are confirmed. The weakest is {part.part.title}: {_why(part)}."
    if finding.verdict == "undecided":
        return _why_undecided(finding, part)
    same = sum(one.verdict == part.verdict for one in finding.parts)
    example = "It is" if same == 1 else "The first is"
    if part.verdict.startswith("depends"):
        found = f"{'depends' if same == 1 else 'depend'}{part.verdict.removeprefix('depends')}"
    else:
        found = f"{'is' if same == 1 else 'are'} {part.verdict}"
    return f"{same} of {len(finding.parts)} parts {found}. {example} {part.part.title}: {_why(part)}."


def _why_undecided(finding: Finding, part: PartFinding) -> str:
    """Which parts prevent a decision and which do not, and why the deciding one does."""
    blocking: dict[str, list[PartFinding]] = {}
    for one in finding.parts:
        if one.verdict != "confirmed":
            key = f"not measured ({one.reason})" if one.verdict == "not measured" else one.verdict
            blocking.setdefault(key, []).append(one)
    because = " and ".join(f"{_parts(found)} {verdict}" for verdict, found in blocking.items())
    confirmed = [one for one in finding.parts if one.verdict == "confirmed"]
    rest = f"; {_parts(confirmed)} confirmed" if confirmed else ""
    detail = "" if part.decisive is None else f" On {part.part.title}: {_why(part)}."
    return f"Undecided because {because}{rest}.{detail}"


def _parts(found: Sequence[PartFinding]) -> str:
    titles = ", ".join(f"'{one.part.title}'" for one in found)
    return f"the part {titles} is" if len(found) == 1 else f"the parts {titles} are"


def change_of(finding: Finding) -> str:
    """What would change the verdict on a claim, by the part on which it depends; empty if unknown."""
    part = finding.decisive
    if part is None:
        return ""
    sentence = _of_part(finding, part, named=len(finding.parts) > 1)
    alike = sum(one.verdict == part.verdict for one in finding.parts) - 1
    if alike and part.verdict != "confirmed":  # a claim is confirmed by all parts, and loses that by any
        sentence += f" {fmt.plural(alike, 'other part')} {'is' if alike == 1 else 'are'} {part.verdict} too."
    return sentence


def what_would_change(finding: Finding) -> list[str]:
    """One sentence per part of which something was measured."""
    return [_of_part(finding, part) for part in finding.parts if part.verdict != "not measured"]


def place_of(one: Comparison) -> str:
    """Where a comparison is made: its data, network, learning rate and loss."""
    return ", ".join(filter(None, (one.sample.data, one.sample.network, one.sample.place)))


def shown_effect(found: PartFinding, one: Comparison) -> str:
    """What a comparison of a part shows, with the p-value by which it counts, or why it was not tested."""
    test = found.deciding_test(one)
    if test is None:
        return f"not tested: {one.reason}"
    return f"{'' if test.shown else 'not '}shown to be {test.effect} ({p_text(test.p)}{'' if test.joint else ' alone'})"


def direction(part: Part) -> str:
    """How the sign of an effect is to be read, and what the part claims: after kernel minus NTK; claimed: lower."""
    before, after = part.sides
    some = " for some pairs of data and network, not for all" if part.quantifier == "some but not all" else ""
    if not before and not after:
        return f"claimed: {part.region.effect}{some}"
    slope = "per tenfold" in part.unit
    sides = f"change from {before} to {after}" if slope else f"{after} minus {before}"
    claimed = {"lower": "negative", "higher": "positive"}.get(part.region.effect, part.region.effect)
    return f"{sides}; claimed: {claimed}{some}"


def p_text(p_value: float | None) -> str:
    """A p-value in words: p = 0.012, p < 0.001."""
    text = fmt.p_value(p_value)
    return f"p < {text[1:]}" if text.startswith("<") else f"p = {text}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _why(found: PartFinding) -> str:
    quantifier, pairs = found.part.quantifier, found.pairs
    holding, failing = [pair for pair in pairs if pair.holds], [pair for pair in pairs if pair.fails]
    of_pairs = f"of {fmt.plural(len(pairs), 'pair')} of data and network"
    if found.verdict == "confirmed":
        return {
            "all": f"{_every(len(found.comparisons))} by its own p-value",
            "some": f"it is shown to hold for {len(holding)} {of_pairs}, and one is enough",
            "most": f"it is shown to hold for {len(holding)} {of_pairs}, and to fail for none",
            "some but not all": f"it is shown to hold for {len(holding)} {of_pairs}, and to fail for {len(failing)}",
        }[quantifier]
    if found.verdict == "refuted":
        return {
            "all": f"it is shown to fail for {_pairs(failing)}, and every comparison must hold",
            "some": "every comparison is shown to fail by its own p-value",
            "most": f"it is shown to fail for {len(failing)} {of_pairs}, which is more than half",
            "some but not all": f"every comparison is shown to {'fail' if failing else 'hold'} by its own p-value",
        }[quantifier]
    if found.verdict.startswith("depends"):
        return f"on {_pairs([pair for pair in pairs if pair.depends])} it is shown both to hold and to fail"
    so_far = f"it {found.reason}" if found.reason.startswith("holds") else f"nothing can be compared ({found.reason})"
    return f"{_NEEDS[quantifier]}; {so_far}"


def _every(comparisons: int) -> str:
    return "its only comparison holds" if comparisons == 1 else f"each of {comparisons} comparisons holds"


def _pairs(pairs: Sequence[Pair]) -> str:
    names = [" ".join(pair.comparisons[0].sample.pair) for pair in pairs]
    return "; ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _of_part(finding: Finding, part: PartFinding, *, named: bool = True) -> str:
    sentence = _change(finding, part)
    text = f"{part.part.title}: {sentence}" if named else sentence
    return f"{text[0].upper()}{text[1:]}"


def _change(finding: Finding, found: PartFinding) -> str:
    pairs = found.pairs
    holding, failing = [pair for pair in pairs if pair.holds], [pair for pair in pairs if pair.fails]
    if found.verdict == "confirmed":
        return f"it would no longer be confirmed {_if_not_confirmed(found, holding, failing)}."
    if found.verdict == "refuted":
        return f"it would no longer be refuted {_if_not_refuted(found, failing)}."
    if found.verdict.startswith("depends"):
        depending = [one for pair in pairs if pair.depends for one in pair.comparisons]
        holds = _listed(one for one in depending if one.holds_alone)
        fails = _listed(one for one in depending if one.fails_alone)
        return f"it would be decided if these agreed: it holds at {holds}, and fails at {fails}."
    if found.verdict == "not measured":
        return f"runs that measure it would decide it; so far {found.reason}."
    return _if_decided(finding, found)


def _if_not_confirmed(found: PartFinding, holding: Sequence[Pair], failing: Sequence[Pair]) -> str:
    if found.part.quantifier == "all":
        counted = [one for pair in found.pairs for one in pair.comparisons]
        weakest = max(counted, key=lambda one: one.test.p_holds or 0.0)
        shown = f"shown to be {found.part.region.effect} by its own test"
        return f"if {place_of(weakest)} were no longer {shown} ({p_text(weakest.test.p_holds)})"
    if found.part.quantifier == "some":
        return f"only if none of the pairs that hold did so any more: {_pairs(holding)}"
    if found.part.quantifier == "most":
        spare = len(holding) - len(found.pairs) // 2
        return f"if a pair failed, or {spare} of the {len(holding)} pairs that hold no longer did"
    return f"if no pair held any more ({_pairs(holding)}), or none failed ({_pairs(failing)})"


def _if_not_refuted(found: PartFinding, failing: Sequence[Pair]) -> str:
    if found.part.quantifier == "all":
        return f"only if none of the pairs that fail did so any more: {_pairs(failing)}"
    if found.part.quantifier == "most":
        spare = len(failing) - len(found.pairs) // 2
        return f"if {spare} of the {len(failing)} pairs that fail no longer did"
    counted = [one for pair in found.pairs for one in pair.comparisons]
    fail = all(one.fails_alone for one in counted)
    weakest = max(counted, key=lambda one: (one.test.p_fails if fail else one.test.p_holds) or 0.0)
    p_value = p_text(weakest.test.p_fails if fail else weakest.test.p_holds)
    effect = found.part.region.opposite if fail else found.part.region.effect
    return f"if {place_of(weakest)} were no longer shown to be {effect} by its own test ({p_value})"


def _if_decided(finding: Finding, found: PartFinding) -> str:
    """What would decide an open part: the seeds that the comparison on which it depends needs, if that is open."""
    failing = [pair for pair in found.pairs if pair.fails]
    if found.part.quantifier == "most" and failing:
        return (
            f"it could be confirmed only if no pair failed any more ({_pairs(failing)}), and refuted only if more than "
            "half did."
        )
    one = found.decisive
    if one is None or one.outcome is not ComparisonOutcome.OPEN:
        return f"it needs further pairs of data and network ({found.reason})."
    test = found.deciding_test(one)
    if test is None:
        return f"it needs comparisons that can be tested ({found.reason})."
    seeds = power_of(finding, found.part, one, joint=test.joint).needed
    wanted = "no number of seeds shows an effect of this size on these images"
    if seeds is not None:
        wanted = _seeds(one, seeds)
    clearest = f"the clearest is {place_of(one)} ({shown_effect(found, one)}): {wanted}."
    counted = [other for pair in found.pairs for other in pair.comparisons]
    if found.part.quantifier != "all" or len(counted) == 1:
        return f"of the open comparisons {clearest}"
    open_ones = fmt.plural(sum(not other.holds_alone for other in counted), "open comparison")
    return (
        f"it would be confirmed only if the {open_ones} held too, and refuted if the opposite were shown for a pair of "
        f"data and network somewhere, and the claim for it nowhere; of the open comparisons {clearest}"
    )


def _seeds(one: Comparison, seeds: int) -> str:
    if seeds <= one.test.n:
        return f"{one.test.n} seeds show an effect of this size in 80 % of sweeps"
    return f"an effect of this size would need {seeds} seeds to be shown in 80 % of sweeps"


def _listed(comparisons: Iterable[Comparison]) -> str:
    names = [place_of(one) for one in comparisons]
    return "; ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
