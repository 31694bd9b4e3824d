"""What the page shows of a claim: its parts in words, the table and its file, the figure, the abstract's statements."""

import dataclasses
import math

import numpy as np
import pytest
from claim_rows import at_losses, finding, rows, wobble

from afterkernel.claims.inference import Inference
from afterkernel.claims.statements import STATEMENTS
from afterkernel.records.answers import pack
from afterkernel.report import claim_cards, claim_table, figure_claim
from afterkernel.text import MISSING

BY_RATE = {0.03: 0.06, 0.1: -0.04, 0.3: -0.17}


@pytest.fixture(scope="module")
def turning():
    """C3 on a network whose invariances grow at one learning rate and fall at the others."""

    def value(measure, rate, seed, epoch, **_):
        return 0.5 + BY_RATE[rate] * (epoch == 10) + wobble(measure, seed, rate, epoch, size=0.01)

    return finding("c3", rows(value, nets=("vgg",), rates=tuple(BY_RATE)))


def test_a_part_shows_its_effect_where_it_is_and_at_the_other_rates(turning):
    summary = claim_cards.summarise_parts(turning)[0]
    assert summary.verdict == "depends on the learning rate"
    assert summary.effect.startswith("NTK → after kernel: \N{MINUS SIGN}0.1")
    assert "95 % interval over seeds, for these images, [" in summary.effect
    assert "n = 10 (mnist 3/8, vgg, learning rate 0.3); shown to be lower (p = 0.0" in summary.effect
    elsewhere = [part.split(" at ")[1] for part in summary.elsewhere.split("; ")]
    assert elsewhere == ["learning rate 0.03", "learning rate 0.1"]
    assert summary.elsewhere.startswith("Elsewhere on this pair: +0.0")


def test_the_detectable_effect_is_said(turning):
    (part, *_), decisive = turning.parts, turning.parts[0].decisive
    summary = claim_cards.summarise_parts(turning)[0]
    assert decisive.test.detectable is not None
    assert summary.detectable.startswith("With n = 10 seeds and this spread, an effect of 0.0")
    assert summary.detectable.endswith(f"{part.part.unit} would be shown in 80 % of sweeps")


def test_too_few_seeds_for_any_effect_are_said():
    """With 6 seeds no comparison among several can be shown."""

    def value(measure, rate, seed, epoch, **_):
        return 0.5 + BY_RATE[rate] * (epoch == 10) + wobble(measure, seed, rate, epoch, size=0.01)

    found = finding("c3", rows(value, nets=("vgg",), rates=tuple(BY_RATE), seeds=range(6)))
    unreachable = [one for _, one in found.comparisons if one.test.detectable == math.inf]
    assert unreachable
    assert "none" in [cell for row in claim_table.comparison_table(found).rows for cell, _ in row.cells]
    summaries = [one.detectable for one in claim_cards.summarise_parts(found)]
    assert "With n = 6 seeds no effect would be shown in 80 % of sweeps, among so many comparisons" in summaries


def test_the_file_of_the_table_has_every_number_unrounded(turning):
    frame = claim_table.comparison_frame(turning)
    assert len(frame) == 9
    assert sorted(set(frame["learning_rate"])) == sorted(BY_RATE)
    row, (_, one) = frame.iloc[0], turning.comparisons[0]
    assert (row["effect"], row["student95_low"], row["p_holds"]) == (one.test.mean, one.test.low, one.test.p_holds)
    assert row["statement"] == "S4"
    named = {"loss", "n_seeds", "standard_deviation", "seeds_and_images95_low", "p_holds_joint", "p_does_not_joint"}
    assert named | {"p_holds_student", "p_does_not_student", "detectable", "left_out", "remark"} <= set(frame.columns)


def test_an_interval_over_seeds_and_images_is_shown_where_answers_are_recorded():
    frame = rows(lambda *_, **__: 0.0, nets=("vgg",))
    drawn = np.random.default_rng(0).random((len(frame), 500)) < np.where(frame["epoch"] > 0, 0.05, 0.2)[:, None]
    frame["svm_test_wrong"], frame["svm_test_error"] = [pack(one) for one in drawn], drawn.mean(axis=1)
    found = finding("c1", frame)
    assert "over seeds and images [" in claim_cards.summarise_parts(found)[0].effect
    (row,) = claim_table.comparison_frame(found).to_dict("records")
    assert row["seeds_and_images95_low"] < row["effect"] < row["seeds_and_images95_high"]
    assert found.verdict == "confirmed"


def test_a_comparison_that_is_not_tested_has_its_remark_in_the_table():
    paths = {0.01: lambda *_: [0.3, 0.22], 0.1: lambda *_: [0.15, 0.09], 1.0: lambda *_: [0.08, 0.05]}
    found = finding("c5", at_losses(lambda m, loss, **_: 0.1 + 0.01 * math.log(loss), paths, losses=(0.1,)))
    table = claim_table.comparison_table(found)
    (row,) = table.rows
    cells = dict(zip(table.headings, row.cells, strict=True))
    assert cells["finding"] == ("open", "losses differ")
    assert cells["left out"][1].startswith("slope adjusted for the loss")
    assert (cells["loss"][0], cells["learning rate"][0], cells["effect"][0]) == ("0.1", MISSING, MISSING)
    assert figure_claim.measured(found) == []
    summary = claim_cards.summarise_parts(found)[0]
    assert summary.effect == f"{cells['left out'][1]} (mnist 3/8, vgg, loss 0.1)"
    assert (summary.verdict, summary.reason) == ("undecided", "losses differ")


def test_the_caption_counts_the_seeds_of_what_is_drawn(turning):
    first, *others = turning.parts
    missing = dataclasses.replace(first.comparisons[0], test=Inference(0, obstacle="losses differ"))
    part = dataclasses.replace(first, comparisons=[*first.comparisons, missing])
    assert claim_cards._seeds(dataclasses.replace(turning, parts=[part, *others])) == claim_cards._seeds(turning)


def test_every_statement_of_the_abstract_gets_its_verdict(turning):
    c1 = finding("c1", rows(lambda m, epoch, seed, arch, **_: 0.05 - 0.01 * (epoch > 0) + wobble(seed, arch, epoch)))
    found = claim_cards.summarise_statements([turning, c1])
    assert [one.key for one in found] == ["S1", "S4", "S5", "S6", "S7"]
    assert [one.verdict for one in found] == ["confirmed", *["depends on the learning rate"] * 3, "not measured"]
    assert all(one.text == STATEMENTS[one.key] for one in found)
    assert found[0].claim == "c1"
    assert "percentage points" in found[0].effect


def test_the_figure_labels_comparisons_by_rate(turning):
    drawn = figure_claim.frame(figure_claim.measured(turning)[:1])
    assert list(drawn["row"].unique()) == [f"mnist 3/8, vgg, learning rate {rate:g}" for rate in BY_RATE]
