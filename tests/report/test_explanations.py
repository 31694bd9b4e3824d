"""Verdicts in words: an undecided claim is explained by what prevents a decision, and tests name their effect."""

from pathlib import Path

import pandas as pd
import pytest
from claim_rows import finding, rows, wobble

from afterkernel.report import claim_cards
from afterkernel.report.closing import closing_lines
from afterkernel.report.explanations import change_of, direction, shown_effect, what_would_change, why
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
    assert part.decisive.test.mean < 0
    assert "(mnist 3/8, vgg, learning rate 0.1); not shown to be lower (p = " in s4.effect
    assert ". Holds in 1 of 2 comparisons" in s4.effect


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
    assert shown_effect(part, part.decisive).startswith(words)
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


def test_a_confirmed_claim_is_never_said_not_to_be_shown():
    found = finding("c2", rows(swaps({("vgg", 0.1): -0.005, ("mlp", 0.1): 0.014})))
    assert all(one.holds_alone and one.test.p_holds_joint > 0.05 for _, one in found.comparisons)
    assert found.verdict == "confirmed"
    part = found.decisive
    assert (part.part.title, part.reason) == ("swap invariance, MLPs", "the only comparison holds by its own p-value")
    assert overview(found).test == "higher: p = 0.043"
    assert shown_effect(part, part.decisive) == "shown to be higher (p = 0.043 alone)"
    _, line, _ = closing_lines([found], "lead", Path("page"))
    assert line.endswith("mlp, learning rate 0.1, 10 seeds)")


def test_what_all_must_show_counts_by_its_own_p_value_in_every_sentence():
    found = finding("c2", rows(swaps({("vgg", 0.1): -0.005, ("vgg", 0.3): -0.003}), nets=("vgg",), rates=(0.1, 0.3)))
    part = found.parts[0]
    shown, unclear = part.comparisons
    assert (shown.holds_alone, shown.outcome.value) == (True, "open")
    assert part.reason == "holds in 1 of 2 comparisons by their own p-values, open in 1 (not significant)"
    assert part.decisive is unclear
    assert what_would_change(found)[0].startswith(
        "Swap invariance, VGG nets: it would be confirmed only if the 1 open comparison held too, and refuted if the "
        "opposite were shown for a pair of data and network somewhere, and the claim for it nowhere; of the open "
        "comparisons the clearest is mnist 3/8, vgg, learning rate 0.3 (not shown to be"
    )


def alike(size):
    """Rows in which the test errors of all kernels are the same but for noise of this size, a share."""

    def value(measure, arch, rate, seed, epoch, kernel, **_):
        return 0.5 + wobble(measure, arch, seed, rate, epoch, kernel, size=size)

    return rows(value)


def test_a_claim_of_some_that_holds_for_all_is_refuted_in_every_sentence():
    found = finding("c4", alike(0.007))
    part = found.decisive
    assert (found.verdict, part.verdict) == ("refuted", "refuted")
    assert {one.outcome.value for one in part.comparisons} == {"open", "shown to hold"}
    assert part.reason == "both comparisons hold by their own p-values"
    assert direction(part.part).endswith(
        "claimed: between \N{MINUS SIGN}1 and 1 for some pairs of data and network, not for all"
    )
    _, line, _ = closing_lines([found], "lead", Path("page"))
    assert line.endswith("alone) for each pair of data and network)")
    assert "too." not in change_of(found)


def test_what_would_change_a_claim_counts_the_other_parts_with_its_verdict():
    assert change_of(finding("c4", alike(0.005))).endswith(" 1 other part is refuted too.")


def test_an_open_comparison_is_described_by_the_effect_to_which_its_values_point():
    parts = finding("c3", rows(swaps({}))).parts[:3]
    found = [(part, one) for part in parts for one in part.comparisons]
    for part, one in found:
        assert one.outcome.value == "open"
        effect, p_value = ("lower", one.test.p_fails_joint) if one.test.mean < 0 else ("higher", one.test.p_holds_joint)
        assert shown_effect(part, one) == f"not shown to be {effect} (p = {p_value:.3f})"
    assert {part.deciding_test(one).claimed for part, one in found} == {True, False}


def test_what_would_decide_a_tendency_names_the_pairs_that_fail():
    effects = {("vgg", 0.1): -0.2, ("mlp", 0.1): 0.2, ("cnn", 0.1): 0.2}
    found = finding("c3", rows(swaps(effects), nets=("vgg", "mlp", "cnn")))
    assert found.parts[0].verdict == "undecided"
    assert what_would_change(found)[0] == (
        "Shift invariance: it could be confirmed only if no pair failed any more (mnist 3/8 vgg), and refuted only if "
        "more than half did."
    )


def test_a_claim_that_depends_names_every_pair_that_does():
    effects = {(net, rate): 0.2 if rate == 0.1 else -0.2 for net in ("vgg", "mlp") for rate in (0.1, 0.3)}
    found = finding("c3", rows(swaps(effects), rates=(0.1, 0.3)))
    assert found.parts[0].verdict == "depends on the learning rate"
    assert what_would_change(found)[0].endswith(
        "it holds at mnist 3/8, mlp, learning rate 0.1; mnist 3/8, vgg, learning rate 0.1, and fails at mnist 3/8, "
        "mlp, learning rate 0.3; mnist 3/8, vgg, learning rate 0.3."
    )


def test_where_nothing_differs_the_reason_is_that_and_not_a_lack_of_significance():
    found = finding("c1", rows(lambda *_, **__: 0.5, nets=("vgg",)))
    assert found.reason == "holds in 0 of 1 comparison, open in 1 (all 10 differences are 0)"


def test_where_no_run_is_trained_the_reason_is_a_sentence():
    frame = rows(swaps({}), nets=("vgg",)).assign(training_failure="diverged")
    assert why(finding("c1", frame)) == ("One pair of data and network must hold; nothing can be compared (diverged).")
