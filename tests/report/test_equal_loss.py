"""Tests of comparisons at equal training loss: interpolation, excluded runs, and effects of the loss alone."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
from claim_rows import at_losses, checked, finding, verdicts, wobble
from hypothesis import given
from hypothesis import strategies as st

from afterkernel.claims import ComparisonOutcome
from afterkernel.claims.equal_loss import LOSSES_DIFFER, NOT_BRACKETED, NOT_REACHED, Trajectory, trajectories
from afterkernel.claims.readings import DIVERGED, SOFT, Reading
from afterkernel.records.answers import pack

losses = st.floats(1e-4, 2.0)


def trajectory(found, value=lambda loss: loss):
    return Trajectory(list(found), [Reading(value(loss)) for loss in found])


@given(losses, st.floats(1.0, 3.0), st.floats(0.0, 1.0), st.floats(-2, 2), st.floats(-1, 1))
def test_what_is_linear_in_the_log_of_the_loss_is_read_off_exactly(below, factor, share, start, slope):
    above = below * factor
    loss = min(max(below * factor**share, below), above)
    found = trajectory([2.5 * above, above, below, 0.9 * below], lambda one: start + slope * math.log(one)).at(loss)
    assert found.value == pytest.approx(start + slope * math.log(loss), abs=1e-6)


@given(st.floats(-2, 2), st.floats(-1, 1), st.floats(-1, 1), st.floats(0.0, 1.0))
def test_a_parabola_in_the_log_of_the_loss_is_read_off_exactly_with_a_third_snapshot(start, slope, bend, share):
    def value(loss):
        return start + slope * math.log(loss) + bend * math.log(loss) ** 2

    loss = 0.05 * 2**share
    # A snapshot within 1e-9 of a loss is at it.
    share = next((end for end in (0, 1) if abs(0.05 * 2**end - loss) <= 1e-9 * loss), share)
    found = trajectory([0.2, 0.1, 0.05], value)
    assert found.at(loss).value == pytest.approx(value(0.05 * 2**share), abs=1e-9)
    # A third snapshot without a number, too close to one of the two, or too far, is not used: the line between them is.
    unknown = dataclasses.replace(found, readings=[Reading(missing=SOFT), *found.readings[1:]]).at(loss)
    assert unknown.value == pytest.approx((1 - share) * value(0.05) + share * value(0.1), abs=1e-9)
    far = trajectory([0.5, 0.1, 0.05, 0.049], value).at(loss)
    assert far.value == pytest.approx((1 - share) * value(0.05) + share * value(0.1), abs=1e-9)


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        ([0.5, 0.2, 0.11], NOT_REACHED),
        ([0.5, 0.31, 0.1001, 0.09], ""),
        ([0.5, 0.31, 0.09], NOT_BRACKETED),  # further apart than a factor of 3
        ([0.09, 0.05], NOT_BRACKETED),  # the first snapshot is below already
        ([0.31, 0.09, 0.12, 0.08], NOT_BRACKETED),  # the first pair on the way down counts, not a later one
        ([0.2, 0.1], ""),
        ([0.1], ""),  # at the loss itself no second snapshot is needed
    ],
)
def test_a_run_has_a_value_where_two_snapshots_bracket_the_loss(path, missing):
    assert trajectory(path).at(0.1).missing == missing


def test_the_first_pair_on_the_way_down_counts():
    assert 0.09 < trajectory([0.11, 0.09, 0.2, 0.05], lambda loss: loss).at(0.1).value < 0.11
    assert trajectory([0.1, 0.09, 0.1], lambda loss: loss).at(0.1).value == 0.1


def test_a_snapshot_without_a_number_gives_none():
    soft = Trajectory([0.2, 0.08], [Reading(1.0), Reading(missing=SOFT)])
    assert soft.at(0.1).missing == SOFT
    diverged = Trajectory([0.2, math.nan], [Reading(1.0), Reading(missing=DIVERGED)])
    assert diverged.at(0.1).missing == DIVERGED


LEVELS = (0.2, 0.1, 0.05)
RATES = (0.01, 0.1, 1.0)


def close(*missing):
    """Paths of snapshots that bracket all LEVELS, but for the rates that lack what is below 0.1."""
    full = [0.3, 0.22, 0.11, 0.06, 0.04]
    return {rate: lambda *_, rate=rate: full[: 3 if rate in missing else 5] for rate in RATES}


def by_rate(slope, loss_effect=0.1):
    def value(measure, seed, rate, loss, **_):
        sign = 1.0 if measure in ("svm_test_error", "swap_invariance") else -1.0
        size = 0.5 + 0.02 * seed + loss_effect * math.log(loss)
        return size + sign * slope * np.log10(rate) + wobble(measure, seed, rate)

    return value


@pytest.mark.parametrize(("slope", "verdict"), [(-0.01, "confirmed"), (0.01, "refuted"), (0.0, "undecided")])
def test_c5_and_c6_follow_the_slope_over_the_learning_rate(slope, verdict):
    frame = at_losses(by_rate(slope), close(), losses=LEVELS)
    for name in ("c5", "c6"):
        found = finding(name, frame)
        assert found.verdict == verdict
        assert all([one.sample.loss for one in part.comparisons] == [0.2, 0.1, 0.05] for part in found.parts)
    decisive = finding("c5", frame).parts[0].decisive
    assert decisive.test.mean == pytest.approx(100 * slope, abs=0.1)
    assert decisive.sample.after - decisive.sample.before == pytest.approx(200 * slope, abs=0.2)


def test_a_slope_that_turns_with_the_loss_depends_on_it():
    def value(measure, seed, rate, loss, **_):
        return 0.5 + 0.01 * (1 if loss > 0.15 else -1) * np.log10(rate) + wobble(measure, seed, rate, loss)

    found = finding("c5", at_losses(value, close(), losses=(0.2, 0.05)))
    assert found.verdict == "depends on the training loss"
    assert "both ways within mnist 3/8 vgg" in found.reason


def test_without_losses_of_snapshots_runs_are_compared_at_their_target():
    frame = at_losses(by_rate(-0.01), close(), losses=(), target=0.05)
    assert [one.sample.loss for _, one in finding("c5", frame).comparisons] == [0.05]
    assert finding("c5", frame.assign(loss_target=np.nan)).verdict == "not measured"
    assert finding("c5", frame[frame["learning_rate"] == 0.1]).verdict == "not measured"


def test_a_rate_that_did_not_reach_a_loss_is_left_out_there_with_the_reason():
    found = finding("c5", at_losses(by_rate(-0.01), close(0.01), losses=LEVELS))
    texts = {one.sample.loss: one.sample.left_out for _, one in found.comparisons}
    assert texts == {0.2: "", 0.1: f"learning rate 0.01: 10 of 10 seeds ({NOT_REACHED})"} | {0.05: texts[0.1]}
    assert found.verdict == "confirmed"


def test_seeds_without_a_value_at_the_other_rates_are_told_from_those_of_a_rate_that_is_left_out():
    frame = at_losses(by_rate(-0.01), close(0.01), losses=LEVELS)
    some = frame[(frame["learning_rate"] != 0.1) | (frame["seed"] > 0) | (frame["train_loss"] > 0.1)]
    texts = {one.sample.loss: one.sample.left_out for _, one in finding("c5", some).comparisons}
    assert texts[0.05] == (
        f"learning rate 0.01: 10 of 10 seeds ({NOT_REACHED}); other learning rates: 1 of 10 seeds ({NOT_REACHED})"
    )


def test_the_initialisation_is_no_snapshot_of_an_after_kernel():
    found = finding("c5", at_losses(by_rate(-0.01), close(), losses=(0.4,)))
    ((_, one),) = found.comparisons
    assert one.sample.obstacle == LOSSES_DIFFER
    assert NOT_BRACKETED in one.sample.left_out


def test_a_run_without_a_learning_rate_is_in_no_comparison_of_rates():
    frame = at_losses(by_rate(-0.01), close(), losses=(0.1,))
    known = frame[frame["seed"] != 0]
    frame.loc[frame["seed"] == 0, "learning_rate"] = np.nan
    found, wanted = (trajectories(rows, "learning_rate", "svm_test_error") for rows in (frame, known))
    assert {rate: list(runs) for rate, runs in found.items()} == {rate: list(runs) for rate, runs in wanted.items()}
    assert len(wanted) > 1
    assert finding("c5", frame).verdict == finding("c5", known).verdict


def test_seeds_that_lack_a_remaining_rate_are_left_out_with_the_reason():
    frame = at_losses(by_rate(-0.01), close(), losses=(0.1,))
    bad = (frame["seed"] == 3) & (frame["learning_rate"] == 1.0)
    frame.loc[bad, "training_failure"] = DIVERGED
    frame.loc[(frame["seed"] == 5) & (frame["learning_rate"] == 0.1), "separable"] = False
    (_, one), *_ = finding("c5", frame).comparisons
    assert one.sample.seeds == (0, 1, 2, 4, 6, 7, 8, 9)
    assert one.sample.left_out == "1 of 10 seeds (diverged); 1 of 10 seeds (soft margin)"
    (_, one), *_ = finding("c6", frame).comparisons
    assert one.sample.left_out == "1 of 10 seeds (diverged)"  # invariances do not need a margin


def test_fewer_than_two_rates_at_a_loss_are_not_tested_and_show_the_slope_adjusted_for_the_loss():
    paths = {0.01: lambda *_: [0.3, 0.22], 0.1: lambda *_: [0.15, 0.09], 1.0: lambda *_: [0.08, 0.05]}
    found = finding("c5", at_losses(by_rate(-0.02), paths, losses=(0.1,)))
    assert (found.verdict, found.reason) == ("undecided", LOSSES_DIFFER)
    (_, one) = found.comparisons[0]
    assert one.test.p_holds is None
    assert one.sample.remark.startswith("slope adjusted for the loss, not tested: \N{MINUS SIGN}2")
    assert "n = 10" in one.sample.remark
    assert found.remark.startswith("In 1 of 1 comparisons")
    assert NOT_REACHED in one.sample.left_out


def test_a_loss_at_which_runs_cannot_be_compared_does_not_hold_up_the_others():
    found = finding("c5", at_losses(by_rate(-0.01), close(0.01, 0.1), losses=LEVELS))
    assert [one.sample.obstacle for _, one in found.comparisons] == ["", LOSSES_DIFFER, LOSSES_DIFFER]
    assert found.verdict == "confirmed"


def test_answers_image_by_image_give_the_value_of_each_seed():
    frame = at_losses(by_rate(0.0), close(), losses=(0.1,))
    drawn = np.random.default_rng(0).random((len(frame), 500)) < 0.1
    frame["svm_test_wrong"], frame["svm_test_error"] = [pack(one) for one in drawn], drawn.mean(axis=1)
    (_, one) = finding("c5", frame).comparisons[0]
    assert one.sample.images.shape == (10, 500)
    assert one.sample.images.dtype == np.float32
    assert one.sample.images.mean(axis=1) == pytest.approx(one.sample.values, abs=1e-4)
    assert one.sample.test_set == "mnist 3/8, 500 images"
    frame.loc[9, "svm_test_wrong"] = ""  # a record of an older version
    assert finding("c5", frame).comparisons[0][1].sample.images is None


AUGMENTED = ("none", "rotation", "rotation_shift")


def test_augmentation_is_compared_at_equal_loss_by_augmentation():
    def value(measure, seed, rate, augment, loss):
        gain = {"none": 0.0, "rotation": 0.1, "rotation_shift": 0.0}[augment]
        return 0.5 + gain + 0.2 * math.log(loss) + wobble(measure, seed, rate, augment)

    paths = {0.1: lambda seed, augment: [0.3, 0.12, 0.05] if augment == "none" else [0.25, 0.11, 0.09]}
    found = finding("c3", at_losses(value, paths, losses=(0.1,), augment=AUGMENTED))
    assert verdicts(found)[3:] == ["refuted"] * 3 + ["confirmed"] * 3
    assert "rotation alone, as in the author's program" in found.parts[3].part.title
    (one,) = found.parts[3].comparisons
    assert (one.sample.rate, one.sample.loss) == (0.1, 0.1)
    assert one.test.mean == pytest.approx(0.1, abs=0.002)
    # Without losses and a target: at the largest loss at which a run ends.
    found = finding("c3", at_losses(value, paths, losses=(), augment=AUGMENTED))
    assert found.parts[3].comparisons[0].sample.loss == 0.09
    far = {0.1: lambda seed, augment: [0.3, 0.2] if augment == "none" else [0.12, 0.05]}
    found = finding("c3", at_losses(value, far, losses=(0.1,), augment=AUGMENTED))
    assert found.parts[3].reason == LOSSES_DIFFER
    assert found.parts[3].comparisons[0].sample.remark.startswith("difference adjusted for the loss")


CHECKED = (0.2, 0.1, 0.05, 0.03, 0.015)
EFFECTS = {"linear": lambda x: 0.017 * x, "curved": lambda x: 0.017 * x + 0.003 * x * x}


def loss_alone(sweep, effect, path, rates=(0.01, 0.03, 0.1, 0.3), augment=("none",)):
    """A sweep of which every number depends on the loss, on the seed, and on noise of each run.

    `path(generator, rate, augmentation)` gives the losses of a run's snapshots.
    """
    generator = np.random.default_rng([5, sweep])
    noise = {}

    def value(measure, seed, rate, augment, loss):
        own = noise.setdefault((measure, seed, rate, augment), generator.normal(0, 0.004))
        shared = noise.setdefault((measure, seed), generator.normal(0, 0.01))
        return 0.5 + own + shared + EFFECTS[effect](math.log(loss))

    paths = {rate: lambda _, aug, rate=rate: path(generator, rate, aug) for rate in rates}
    return at_losses(value, paths, losses=CHECKED, augment=augment)


def apart(generator, rate, augment):
    """Losses that no two rates share, and none with and without augmentation."""
    start = {0.01: 0.6, 0.03: 0.3, 0.1: 0.12, 0.3: 0.045}[rate] * (1.0 if augment == "none" else 0.4)
    return list(start * np.array([1.0, 0.95, 0.9]) * generator.uniform(0.97, 1.03))


@pytest.mark.parametrize("effect", EFFECTS)
def test_losses_that_do_not_overlap_show_nothing(effect):
    for sweep in range(100):
        frame = loss_alone(sweep, effect, apart, augment=("none", "rotation"))
        for name in ("c5", "c6", *(["c3"] if sweep % 5 == 0 else [])):  # c3 takes longest
            parts = [part for part in finding(name, frame).parts if part.part.statement not in ("S4", "S5", "S6")]
            assert {(part.verdict, part.reason) for part in parts} == {("undecided", LOSSES_DIFFER)}


@pytest.mark.parametrize("effect", EFFECTS)
def test_losses_that_overlap_show_nothing_more_often_than_chance(effect):
    counts = Counter()
    n = 150
    for sweep in range(n):
        frame = loss_alone(sweep, effect, lambda generator, rate, _: checked(generator, rate, CHECKED, 0.013))
        for name in ("c5", "c6"):
            found = finding(name, frame)
            shown = {one.outcome for _, one in found.comparisons} | {found.verdict}
            counts.update((name, one) for one in shown)
            counts["tested"] += sum(one.test.p_holds is not None for _, one in found.comparisons) * (name == "c5")
    # 2.5 % per claim and direction, and three standard errors of so many sweeps.
    most = n * (0.025 + 3 * math.sqrt(0.025 / n))
    shown = (ComparisonOutcome.HOLDS, ComparisonOutcome.FAILS, "confirmed", "refuted", "depends on the training loss")
    assert all(counts[name, what] <= most for name in ("c5", "c6") for what in shown)
    assert counts["tested"] > 3 * n
