"""Tests of each claim on synthetic rows: which values are paired, which are excluded, and the verdict."""

import numpy as np
import pandas as pd
import pytest
from claim_rows import MEASURES, finding, rows, verdicts, wobble

from afterkernel.claims import CLAIMS, ComparisonOutcome
from afterkernel.claims.readings import DIVERGED
from afterkernel.claims.statements import STATEMENTS
from afterkernel.records.answers import pack


def test_every_claim_has_its_texts():
    assert list(CLAIMS) == ["c1", "c2", "c3", "c4", "c5", "c6"]
    for one in CLAIMS.values():
        assert one.statement.endswith(".")
        assert one.comparison
        assert one.rule


def test_nothing_measured_is_no_verdict():
    empty = rows(lambda *_, **__: 0.5).iloc[:0]
    for name in CLAIMS:
        found = finding(name, empty)
        assert found.verdict == "not measured"
        assert all(part.reason for part in found.parts)


def test_c1_is_confirmed_by_one_net_and_pairs_by_seed():
    def value(measure, arch, seed, epoch, **_):
        level = 0.02 + 0.01 * seed  # seeds differ far more than the effect: only a paired test sees it
        return level - (0.01 if arch == "vgg" and epoch else 0.0) + wobble(seed, arch, epoch)

    found = finding("c1", rows(value))
    assert found.verdict == "confirmed"
    outcomes = {one.sample.network: one.outcome for _, one in found.comparisons}
    assert outcomes == {"vgg": ComparisonOutcome.HOLDS, "mlp": ComparisonOutcome.OPEN}
    (part,) = found.parts
    assert part.decisive.sample.network == "vgg"
    assert part.decisive.test.mean == pytest.approx(-1.0, abs=0.15)
    assert part.decisive.sample.before == pytest.approx(6.5, abs=0.15)
    assert "holds in 1 of 2 comparisons" in found.reason


def test_c1_takes_the_last_snapshot_of_a_few_epochs():
    def value(measure, epoch, seed, arch, **_):
        return {0: 0.05, 5: 0.04, 10: 0.03, 20: 0.5}[epoch] + wobble(seed, arch, epoch)

    found = finding("c1", rows(value, epochs=(0, 5, 10, 20)))
    assert found.parts[0].decisive.test.mean == pytest.approx(-2.0, abs=0.15)


def test_c1_is_refuted_only_where_every_net_gets_worse():
    worse = rows(lambda m, epoch, seed, arch, **_: 0.05 + 0.01 * (epoch > 0) + wobble(seed, arch, epoch))
    assert finding("c1", worse).verdict == "refuted"
    one_worse = rows(
        lambda m, epoch, seed, arch, **_: 0.05 + 0.01 * (epoch > 0 and arch == "vgg") + wobble(seed, arch, epoch)
    )
    assert finding("c1", one_worse).verdict == "undecided"


def test_few_seeds_leave_it_undecided_with_the_reason():
    few = rows(lambda m, epoch, seed, arch, **_: 0.05 - 0.01 * (epoch > 0) + wobble(seed, arch, epoch), seeds=range(3))
    found = finding("c1", few)
    assert found.verdict == "undecided"
    assert "seeds are needed" in found.reason


@pytest.mark.parametrize(
    ("vgg", "mlp", "verdict", "parts"),
    [
        (-0.1, 0.1, "confirmed", ["confirmed", "confirmed"]),
        (-0.1, -0.1, "refuted", ["confirmed", "refuted"]),
        (-0.1, 0.0, "undecided", ["confirmed", "undecided"]),
    ],
)
def test_c2_requires_opposite_directions(vgg, mlp, verdict, parts):
    def value(measure, arch, seed, epoch, **_):
        return 0.5 + {"vgg": vgg, "mlp": mlp}[arch] * (epoch == 10) + wobble(seed, arch, epoch)

    found = finding("c2", rows(value, pairs=("3/8", "4/9")))
    assert (found.verdict, verdicts(found)) == (verdict, parts)


def test_c2_without_mlps_is_not_confirmed():
    found = finding(
        "c2", rows(lambda m, epoch, seed, arch, **_: 0.5 - epoch / 100 + wobble(seed, arch, epoch), nets=("vgg",))
    )
    assert (found.verdict, verdicts(found)) == ("undecided", ["confirmed", "not measured"])


def test_an_all_claim_needs_every_pair():
    def value(measure, arch, seed, epoch, pair, **_):
        change = -0.1 if arch == "vgg" else 0.1
        return 0.5 + change * (epoch == 10) * (pair == "3/8" or arch == "mlp") + wobble(seed, arch, epoch)

    found = finding("c2", rows(value, pairs=("3/8", "4/9")))
    assert verdicts(found) == ["undecided", "confirmed"]
    assert found.parts[0].decisive.sample.data == "mnist 4/9"


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.0, "confirmed"), (0.1, "refuted"), (0.02, "undecided"), (-0.1, "confirmed")]
)
def test_c3_what_augmentation_adds_is_bounded_not_merely_unseen(gain, verdict):
    def value(measure, arch, seed, epoch, augment, **_):
        return (
            0.5 + 0.1 * (epoch == 10) + gain * (augment != "none" and epoch == 10) + wobble(seed, arch, epoch, augment)
        )

    found = finding("c3", rows(value, augment=("none", "rotation")))
    assert verdicts(found) == ["confirmed"] * 3 + [verdict] * 3
    assert found.verdict == verdict


def test_c3_noise_that_hides_a_gain_is_no_proof_that_there_is_none():
    def value(measure, arch, seed, epoch, augment, **_):
        return 0.5 + 0.1 * (epoch == 10) + wobble(seed, arch, epoch, augment, size=0.05 if augment != "none" else 0.001)

    found = finding("c3", rows(value, augment=("none", "rotation")))
    assert verdicts(found)[3:] == ["undecided"] * 3


def test_augmented_runs_count_for_no_other_claim():
    def value(measure, arch, seed, epoch, augment, **_):
        return 0.5 + (-0.1 if augment != "none" else 0.1) * (epoch == 10) + wobble(seed, arch, epoch, augment)

    both, without = rows(value, augment=("none", "rotation")), rows(value)
    for name in ("c1", "c2", "c4"):
        assert finding(name, both).verdict == finding(name, without).verdict
    assert finding("c1", rows(value, augment=("rotation",))).verdict == "not measured"


def test_c4_needs_a_pair_where_it_is_close_and_one_where_it_is_not():
    def value(measure, arch, seed, kernel, epoch, **_):
        far = 0.1 if arch == "mlp" and kernel == "conjugate" else 0.0
        return 0.05 + far + wobble(seed, arch, kernel, epoch)

    def levels(name, **level):
        rates, keys = frame["learning_rate"], zip(frame["arch"], frame["seed"], frame["epoch"], strict=True)
        noisy = [level[arch] + wobble(seed, arch, epoch) for arch, seed, epoch in keys]
        return frame.assign(**{name: noisy + 0 * rates})

    frame = rows(value, rates=(0.1, 0.3))
    found = finding("c4", frame)
    assert verdicts(found) == ["not measured", "not measured", "confirmed", "confirmed"]
    assert found.verdict == "undecided"
    found = finding("c4", levels("alignment_with_conjugate", vgg=0.97, mlp=0.5))
    assert (found.verdict, verdicts(found)) == ("confirmed", ["confirmed"] * 4)
    # The NTK has no learning rate yet, the after kernel two.
    assert [len(part.comparisons) for part in found.parts] == [2, 4, 2, 4]
    assert {one.sample.rate for one in found.parts[2].comparisons} == {None}
    near = finding("c4", levels("alignment_with_conjugate", vgg=0.97, mlp=0.95))
    assert verdicts(near)[:2] == ["refuted"] * 2
    frame = levels("alignment_with_conjugate", vgg=0.97, mlp=0.95)
    found = finding("c4", levels("test_alignment_with_conjugate", vgg=0.97, mlp=0.5))
    assert verdicts(found)[:4] == ["refuted", "refuted", "confirmed", "confirmed"]
    assert found.parts[2].part.title == "alignment with the NTK on test images"
    assert finding("c4", frame[frame["arch"] == "vgg"]).parts[0].verdict == "undecided"


def test_learning_rates_are_compared_one_by_one():
    def value(measure, arch, seed, rate, epoch, **_):
        return 0.05 - (0.01 if rate == 0.1 else 0.03) * (epoch > 0) + wobble(seed, arch, epoch)

    found = finding("c1", rows(value, rates=(0.1, 0.3), nets=("vgg",)))
    effects = {one.sample.rate: one.test.mean for _, one in found.comparisons}
    assert effects == {0.1: pytest.approx(-1.0, abs=0.15), 0.3: pytest.approx(-3.0, abs=0.15)}
    assert [one.sample.seeds for _, one in found.comparisons] == [tuple(range(10))] * 2


def test_what_is_left_out_is_counted_with_its_reason():
    frame = rows(lambda m, epoch, seed, arch, **_: 0.05 - 0.01 * (epoch > 0) + wobble(seed, arch, epoch), nets=("vgg",))
    frame["gap"] = frame["gap"].astype("Float64")
    frame.loc[frame["seed"] == 0, "training_failure"] = DIVERGED
    frame.loc[(frame["seed"] == 1) & (frame["epoch"] == 10), "separable"] = False
    frame.loc[(frame["seed"] == 2) & (frame["epoch"] == 0), "gap"] = pd.NA  # separable, but by less than rounding
    frame.loc[(frame["seed"] == 3) & (frame["epoch"] == 10), "converged"] = False
    frame.loc[(frame["seed"] == 4) & (frame["epoch"] == 0), "svm_test_error"] = np.nan
    ((_, one),) = finding("c1", frame).comparisons
    assert one.sample.seeds == (5, 6, 7, 8, 9)
    assert one.sample.left_out == (
        "2 of 10 seeds (soft margin); 1 of 10 seeds (diverged); 1 of 10 seeds (the SVM did not converge); "
        "1 of 10 seeds (not measured)"
    )
    ((_, one),) = [(part, one) for part, one in finding("c2", frame).comparisons if part.statement == "S2"]
    assert one.sample.left_out == "1 of 10 seeds (diverged)"


def test_runs_that_all_diverged_are_seen_and_do_not_hold_up_the_other_rates():
    frame = rows(lambda m, epoch, seed, arch, **_: 0.5 - epoch / 100 + wobble(seed, arch, epoch), rates=(0.1, 1.0))
    frame.loc[frame["learning_rate"] == 1.0, "training_failure"] = DIVERGED
    found = finding("c2", frame[frame["arch"] == "vgg"])
    assert verdicts(found) == ["confirmed", "not measured"]
    assert [one.sample.obstacle for _, one in found.comparisons] == ["", "diverged"]
    assert finding("c2", frame[frame["learning_rate"] == 1.0]).verdict == "undecided"


def test_a_run_that_diverged_had_a_sound_initialisation():
    frame = rows(lambda m, epoch, seed, kernel, **_: 0.5 + wobble(seed, kernel, epoch), nets=("vgg",))
    frame.loc[frame["seed"] == 0, "training_failure"] = DIVERGED
    counts = {part.part.statement: len(part.comparisons[0].sample.seeds) for part in finding("c4", frame).parts[2:]}
    assert counts == {"S8": 10, "S9": 9}


def test_errors_have_their_answers_image_by_image():
    frame = rows(lambda *_, **__: 0.0, nets=("vgg",), rates=(0.1, 0.3))
    drawn = np.random.default_rng(0).random((len(frame), 500)) < 0.1
    frame["svm_test_wrong"], frame["svm_test_error"] = [pack(one) for one in drawn], drawn.mean(axis=1)
    errors = [one for part, one in finding("c4", frame).comparisons if part.unit == "percentage points"]
    for one in [*(one for _, one in finding("c1", frame).comparisons), *errors]:
        assert one.sample.images.shape == (10, 500)
        assert one.sample.images.mean(axis=1) == pytest.approx(one.sample.values, abs=1e-4)
    assert all(one.sample.images is None for _, one in finding("c2", frame).comparisons)
    assert len({one.sample.test_set for one in errors}) == 1


def test_of_runs_that_stop_at_different_places_the_longest_counts():
    frame = rows(lambda m, epoch, seed, arch, **_: 0.5 - epoch / 100 + wobble(seed, arch, epoch), nets=("vgg",))
    stopped = frame[frame["epoch"] <= 5].assign(final=lambda one: one["epoch"] == 5)
    both = pd.concat([stopped, frame], ignore_index=True)
    assert CLAIMS["c2"].parts(both) == CLAIMS["c2"].parts(frame)


def test_every_statement_of_the_abstract_has_a_part():
    frame = rows(lambda *_, **__: 0.5)
    found = {part.statement for claim in CLAIMS.values() for part in claim.parts(frame)}
    assert found == set(STATEMENTS)
    assert list(STATEMENTS) == [f"S{place}" for place in range(1, 13)]


def test_unfinished_runs_count_for_no_claim_about_the_end():
    frame = rows(lambda m, epoch, seed, arch, **_: 0.5 - epoch / 100 + wobble(seed, arch))
    frame["final"] = False
    assert finding("c2", frame).verdict == "not measured"


def test_no_claim_uses_an_estimated_kernel():
    """Adding rows of the kernel sketch to the exact ones does not change any comparison."""

    def value(measure, *, seed, epoch, kernel, arch, rate, augment, **_):
        return (
            0.3 - 0.01 * epoch + wobble(seed, arch, rate) + 0.1 * (kernel == "conjugate") + 0.05 * (augment != "none")
        )

    exact = rows(value, rates=(0.01, 0.1), augment=("none", "rotation"), pairs=("3/8", "4/9"))
    estimated = exact[exact["kernel"] == "ntk"].assign(kernel="sketch", **dict.fromkeys(MEASURES, 0.9))
    both = pd.concat([exact, estimated], ignore_index=True)
    assert all(part.samples for part in CLAIMS["c2"].parts(exact))
    for name, claim in CLAIMS.items():
        assert claim.parts(both) == claim.parts(exact), name
