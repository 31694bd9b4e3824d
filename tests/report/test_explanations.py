"""Verdicts in words: an undecided claim is explained by what prevents a decision, and tests name their effect."""

from pathlib import Path

import pandas as pd
import pytest
from claim_rows import finding, rows, wobble

from afterkernel.report import claim_cards
from afterkernel.report.closing import closing_lines
from afterkernel.report.explanations import change_of, direction, shown_effect, why
from afterkernel.report.overview import overview, part_row, verdict_frame
from afterkernel.text import MISSING

LACKS = "no finished run of arch=vgg has the swap invariance of its NTK and its after kernel"


def swaps(effects, size=0.01):
    """Swap invariances that training changes by `effects[arch, rate]`."""

    def value(measure, arch, rate, seed, epoch, **_):
        return 0.5 + effects.get((arch, rate), 0.0) * (epoch > 0) + wobble(measure, arch, seed, rate, epoch, size=size)

    return value


def test_a_part_that_is_not_measured_is_what_leaves_a_claim_undecided():
    found = finding("c2", rows(swaps({("mlp", 0.1): 0.2}), nets=("mlp",)))
    assert (found.verdict, found.decisive.verdict) == ("undecided", "not measured")
    assert why(found) == (
        f"Undecided because the part 'swap invariance, VGG nets' is not measured ({LACKS}); the part 'swap "
        "invariance, MLPs' is confirmed."
    )
    assert change_of(found) == f"Swap invariance, VGG nets: runs that measure it would decide it; so far {LACKS}."
    row = overview(found)
    assert (row.title, row.effect, row.test, row.where) == ("swap invariance, VGG nets", "", "", "")
    assert row.reason == f"the part 'swap invariance, VGG nets' is not measured: {LACKS}"
    _, line, _ = closing_lines([found], "lead", Path("page"))
    assert line.endswith(f"(not measured: swap invariance, VGG nets, since {LACKS})")
    assert list(verdict_frame([found])["decides_claim"]) == [True, False]


def test_an_undecided_statement_shows_the_comparison_that_prevents_a_decision():
    def value(measure, arch, **where):
        return swaps({("mlp", 0.1): 0.2})(measure, arch, **where)

    found = finding("c3", rows(value))
    part = found.parts[0]
    assert part.verdict == "undecided"
    assert {one.sample.network for one in part.comparisons if one.holds_alone} == {"mlp"}
    assert part.decisive.sample.network == "vgg"
    (s4,) = (one for one in claim_cards.summarise_statements([found]) if one.key == "S4")
    assert "(mnist 3/8, vgg, learning rate 0.1); not shown to be higher (p = " in s4.effect
    assert "holds in 1 of 2 comparisons" in s4.effect


def few_at_a_large_rate(effects):
    """Ten seeds at 0.1, five at 0.3."""
    frame = rows(swaps(effects), nets=("vgg",), rates=(0.1, 0.3))
    return finding("c2", frame[(frame["learning_rate"] == 0.1) | (frame["seed"] < 5)])


def test_a_comparison_that_could_not_be_tested_decides_only_where_it_is_the_reason():
    found = few_at_a_large_rate({})
    part = found.parts[0]
    assert part.decisive.sample.rate == 0.1
    assert part.reason == (
        "holds in 0 of 2 comparisons, open in 2 (mnist 3/8 vgg, learning rate 0.1: not significant; mnist 3/8 vgg, "
        "learning rate 0.3: n = 5, but 6 seeds are needed)"
    )
    part = few_at_a_large_rate({("vgg", 0.1): -0.2, ("vgg", 0.3): -0.2}).parts[0]
    assert (part.verdict, part.decisive.sample.rate) == ("undecided", 0.3)
    row = part_row(part)
    assert (row.test, row.outcome) == ("not tested", "n = 5, but 6 seeds are needed")
    assert "open in 1 (n = 5, but 6 seeds are needed)" in part.reason


@pytest.mark.parametrize(
    ("effect", "test", "outcome", "words"),
    [
        (-0.2, "lower: p = 0.0", "shown; this comparison by itself", "shown to be lower (p = 0.0"),
        (0.2, "higher: p = 0.0", "shown; all comparisons of the claim together", "shown to be higher (p = 0.0"),
        (0.0, "lower: p = ", "not shown; this comparison by itself", "not shown to be lower (p = "),
    ],
)
def test_a_p_value_names_the_effect_for_which_it_tests(effect, test, outcome, words):
    found = finding("c2", rows(swaps({("vgg", 0.1): effect}), nets=("vgg",)))
    part = found.parts[0]
    row = part_row(part)
    assert row.test.startswith(test)
    assert row.outcome == outcome
    assert shown_effect(part.part, part.decisive).startswith(words)
    assert row.direction == direction(part.part) == "after kernel minus NTK; claimed: negative"
    if effect < 0:
        assert part.reason == "the only comparison holds by its own p-value"


def test_parts_with_one_verdict_say_more_than_that():
    found = finding("c6", rows(swaps({}), rates=(0.1, 0.3), losses=(0.3,)))
    assert found.verdict == "undecided"
    assert found.reason.startswith("all 4 parts: undecided; ")
    assert why(found).startswith("Undecided because the parts 'swap invariance', 'shift invariance'")
    assert isinstance(verdict_frame([found]), pd.DataFrame)
    assert MISSING not in found.reason
