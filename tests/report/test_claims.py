"""Each claim on made-up rows: which values are paired, the verdict, and how often a verdict is wrong by chance."""

import numpy as np
import pandas as pd
import pytest

from afterkernel.claims import CLAIMS, Claim, ComparisonOutcome, judge
from afterkernel.claims.claim import Part, Sample
from afterkernel.claims.inference import Region

SEEDS = range(5)
MEASURES = ["svm_test_error", *(f"{name}_invariance" for name in ("shift", "rotation", "zoom", "swap"))]


def rows(
    value,
    *,
    nets=("vgg", "mlp"),
    rates=(0.1,),
    seeds=SEEDS,
    epochs=(0, 5, 10),
    augment=(False,),
    pairs=("3/8",),
    target=None,
):
    """A frame of results: `value(measure, arch=, rate=, seed=, epoch=, kernel=, augment=, pair=)` gives each number."""
    found = []
    for pair in pairs:
        for arch in nets:
            for rate in rates:
                for aug in augment:
                    for seed in seeds:
                        for epoch in epochs:
                            for kernel in ("ntk", "conjugate"):
                                where = {"arch": arch, "rate": rate, "seed": seed, "epoch": epoch, "pair": pair}
                                where |= {"kernel": kernel, "augment": aug}
                                found.append(
                                    {
                                        "dataset": "mnist",
                                        "minus": pair.split("/")[0],
                                        "plus": pair.split("/")[1],
                                        "setting": arch,
                                        "arch": arch,
                                        "learning_rate": rate,
                                        "seed": seed,
                                        "epoch": epoch,
                                        "final": epoch == max(epochs),
                                        "kernel": kernel,
                                        "augment": aug,
                                        "loss_target": np.nan if target is None else target,
                                        "train_loss": 0.009,
                                        "converged": True,
                                        **{measure: value(measure, **where) for measure in MEASURES},
                                    }
                                )
    return pd.DataFrame(found)


def wobble(seed, arch="", rate=0.0, size=0.001):
    return size * np.random.default_rng([seed, len(arch) + ord(arch[0]) if arch else 0, int(1000 * rate)]).normal()


def finding(name, frame):
    return judge(CLAIMS[name], frame)


def verdicts(found):
    return [part.verdict for part in found.parts]


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
        level = 0.05 + 0.01 * seed  # seeds differ far more than the effect: only a paired test sees it
        return level - (0.01 if arch == "vgg" and epoch else 0.0) + wobble(seed, arch, epoch)

    found = finding("c1", rows(value))
    assert found.verdict == "confirmed"
    outcomes = {one.sample.network: one.outcome for _, one in found.comparisons}
    assert outcomes == {"vgg": ComparisonOutcome.HOLDS, "mlp": ComparisonOutcome.OPEN}
    (part,) = found.parts
    assert part.decisive.sample.network == "vgg"
    assert part.decisive.test.mean == pytest.approx(-1.0, abs=0.15)
    assert part.decisive.sample.before == pytest.approx(7.0, abs=0.15)
    assert "holds in 1 of 2" in found.reason


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


def test_few_seeds_and_ties_leave_it_undecided_with_the_reason():
    few = rows(lambda m, epoch, seed, arch, **_: 0.05 - 0.01 * (epoch > 0) + wobble(seed, arch, epoch), seeds=range(3))
    found = finding("c1", few)
    assert found.verdict == "undecided"
    assert "n = 3; 5 seeds are needed" in found.reason
    ties = finding("c1", rows(lambda m, **_: 0.05))
    assert ties.verdict == "undecided"
    assert "all 5 differences are 0" in ties.reason


def test_svms_that_did_not_converge_do_not_count():
    frame = rows(lambda m, epoch, seed, arch, **_: 0.05 - 0.01 * (epoch > 0) + wobble(seed, arch, epoch))
    frame.loc[(frame["seed"] == 0) & (frame["epoch"] == 10), "converged"] = False
    assert all(one.test.n == 4 for _, one in finding("c1", frame).comparisons)


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
        return 0.5 + 0.1 * (epoch == 10) + gain * (augment and epoch == 10) + wobble(seed, arch, epoch + augment)

    found = finding("c3", rows(value, augment=(False, True)))
    assert verdicts(found) == ["confirmed"] * 3 + [verdict] * 3
    assert found.verdict == verdict


def test_c3_noise_that_hides_a_gain_is_no_proof_that_there_is_none():
    def value(measure, arch, seed, epoch, augment, **_):
        return 0.5 + 0.1 * (epoch == 10) + wobble(seed, arch, epoch + augment, size=0.05 if augment else 0.001)

    found = finding("c3", rows(value, augment=(False, True)))
    assert verdicts(found)[3:] == ["undecided"] * 3


def test_augmented_runs_count_for_no_other_claim():
    def value(measure, arch, seed, epoch, augment, **_):
        return 0.5 + (-0.1 if augment else 0.1) * (epoch == 10) + wobble(seed, arch, epoch + augment)

    both, without = rows(value, augment=(False, True)), rows(value)
    for name in ("c1", "c2", "c4"):
        assert finding(name, both).verdict == finding(name, without).verdict
    assert finding("c1", rows(value, augment=(True,))).verdict == "not measured"


def test_c4_needs_a_pair_where_it_is_close_and_one_where_it_is_not():
    def value(measure, arch, seed, kernel, epoch, **_):
        far = 0.1 if arch == "mlp" and kernel == "conjugate" else 0.0
        return 0.05 + far + wobble(seed, arch + kernel, epoch)

    frame = rows(value)
    found = finding("c4", frame)
    assert verdicts(found) == ["not measured", "confirmed"]
    assert found.verdict == "undecided"
    level = {"vgg": 0.97, "mlp": 0.5}
    frame["alignment_with_conjugate"] = [
        level[arch] + wobble(seed, arch, epoch)
        for arch, seed, epoch in zip(frame["arch"], frame["seed"], frame["epoch"], strict=True)
    ]
    found = finding("c4", frame)
    assert (found.verdict, verdicts(found)) == ("confirmed", ["confirmed", "confirmed"])
    assert len(found.parts[0].comparisons) == 4  # two nets, at initialisation and at the end
    always = finding("c4", frame.assign(alignment_with_conjugate=frame["alignment_with_conjugate"] * 0 + 0.95))
    assert always.parts[0].verdict == "undecided"  # no spread
    near = frame.assign(alignment_with_conjugate=[0.95 + wobble(seed, size=0.01) for seed in frame["seed"]])
    assert finding("c4", near).parts[0].verdict == "refuted"


RATES = (0.01, 0.1, 1.0)


def by_rate(slope):
    def value(measure, arch, seed, rate, epoch, **_):
        sign = 1.0 if measure in ("svm_test_error", "swap_invariance") else -1.0
        return 0.5 + 0.02 * seed + sign * slope * np.log10(rate) + wobble(seed, arch, rate)

    return value


@pytest.mark.parametrize(("slope", "verdict"), [(-0.01, "confirmed"), (0.01, "refuted"), (0.0, "undecided")])
def test_c5_and_c6_follow_the_slope_over_the_learning_rate(slope, verdict):
    frame = rows(by_rate(slope), rates=RATES, target=0.01)
    for name in ("c5", "c6"):
        assert finding(name, frame).verdict == verdict
    decisive = finding("c5", frame).parts[0].decisive
    assert decisive.test.mean == pytest.approx(100 * slope, abs=0.1)
    if slope:
        assert decisive.sample.after - decisive.sample.before == pytest.approx(200 * slope, abs=0.2)


def test_c5_and_c6_report_how_equal_the_training_losses_are():
    frame = rows(lambda measure, seed, **where: wobble(seed), rates=(0.03, 0.1), target=0.1)
    frame["train_loss"] = np.where(frame["learning_rate"] == 0.1, 0.03, 0.09) + frame["seed"] * 0.001
    for name in ("c5", "c6"):
        assert finding(name, frame).remark.startswith(
            "Mean training losses at which the runs stopped: 0.092 at learning rate 0.03, 0.032 at learning rate "
            "0.1; the target was 0.1."
        )
        assert finding(name, frame[frame["learning_rate"] == 0.1]).remark == ""
    assert finding("c1", frame).remark == ""


def test_c5_takes_runs_that_reached_the_target_alone():
    frame = rows(by_rate(-0.01), rates=RATES, target=0.01)
    frame.loc[frame["learning_rate"] == 0.01, "train_loss"] = 0.2
    samples = [one.sample for _, one in finding("c5", frame).comparisons]
    assert all(one.before == pytest.approx(54.0 + 1.0, abs=0.2) for one in samples)  # at 0.1, the smallest left
    frame["train_loss"] = 0.2
    assert finding("c5", frame).verdict == "not measured"
    assert finding("c5", rows(by_rate(-0.01), rates=RATES)).verdict == "not measured"  # no target at all


def test_learning_rates_are_averaged_seed_by_seed_and_seeds_that_lack_one_left_out():
    def value(measure, arch, seed, rate, epoch, **_):
        return 0.05 - (0.01 if rate == 0.1 else 0.03) * (epoch > 0) + wobble(seed, arch, epoch)

    frame = rows(value, rates=(0.1, 0.3), seeds=range(6), nets=("vgg",))
    (_, one), *_ = finding("c1", frame).comparisons
    assert (one.test.n, one.test.mean) == (6, pytest.approx(-2.0, abs=0.15))
    frame = frame[~((frame["seed"] == 3) & (frame["learning_rate"] == 0.3))]
    (_, one), *_ = finding("c1", frame).comparisons
    assert (one.test.n, one.sample.left_out) == (5, "1 of 6 seeds (a learning rate is missing)")
    diverged = frame[(frame["learning_rate"] == 0.1) | (frame["seed"] == 0)]
    (_, one), *_ = finding("c1", diverged).comparisons
    assert (one.test.n, one.sample.left_out) == (6, "learning rate 0.3 (missing for most seeds)")


def test_a_learning_rate_that_half_of_the_seeds_lack_is_kept():
    frame = rows(lambda measure, seed, epoch, **_: wobble(seed) - 0.01 * epoch, rates=(0.1, 0.3), seeds=range(10))
    frame = frame[(frame["learning_rate"] == 0.1) | (frame["seed"] < 5)]
    (_, one), *_ = finding("c1", frame).comparisons
    assert (one.test.n, one.sample.left_out) == (5, "5 of 10 seeds (a learning rate is missing)")


def test_unfinished_runs_count_for_no_claim_about_the_end():
    frame = rows(lambda m, epoch, seed, arch, **_: 0.5 - epoch / 100 + wobble(seed, arch))
    frame["final"] = False
    assert finding("c2", frame).verdict == "not measured"


class Drawn(Claim):
    """A claim of several parts, tested by differences that are drawn: seeds by pairs of data and net by parts."""

    def __init__(self, draws, quantifier):
        self.draws, self.quantifier = draws, quantifier

    def parts(self, rows):
        return [
            Part(
                title="part",
                quantifier=self.quantifier,
                region=Region(low=0.0),
                unit="",
                decimals=2,
                sides=("", ""),
                samples=[Sample("data", f"net {place}", tuple(one)) for place, one in enumerate(part)],
                missing="",
            )
            for part in self.draws
        ]


def simulated(n, quantifier, effect=0.0, n_parts=1):
    """Findings of `n` sweeps of 8 pairs of data and net and 5 seeds, in which `effect` standard deviations are true."""
    draws = np.random.default_rng(7).normal(effect, 1.0, (n, n_parts, 8, 5)).tolist()
    return [judge(Drawn(one, quantifier), pd.DataFrame()) for one in draws]


@pytest.mark.parametrize(("n", "n_parts"), [(1000, 1), (250, 4)])
def test_verdicts_on_nothing_are_rare(n, n_parts):
    found = simulated(n, "some", n_parts=n_parts)
    outcomes = [{one.outcome for _, one in one_finding.comparisons} for one_finding in found]
    # Over all comparisons of a claim together 5 %, half of it each way, and three standard errors of so many sweeps.
    either, each = (level + 3 * np.sqrt(level * (1 - level) / n) for level in (0.05, 0.025))
    assert 0.005 <= np.mean([one != {ComparisonOutcome.OPEN} for one in outcomes]) <= either
    assert np.mean([ComparisonOutcome.HOLDS in one for one in outcomes]) <= each
    assert np.mean([ComparisonOutcome.FAILS in one for one in outcomes]) <= each
    assert np.mean([one.verdict == "confirmed" for one in found]) <= each


def test_without_the_correction_verdicts_on_nothing_would_be_common(monkeypatch):
    monkeypatch.setattr("afterkernel.claims.verdict.holm", lambda p_values: p_values)
    assert np.mean([one.verdict == "confirmed" for one in simulated(300, "some")]) > 0.1


def test_real_effects_are_found():
    for quantifier in ("some", "all"):
        found = simulated(100, quantifier, effect=6.0)
        assert np.mean([one.verdict == "confirmed" for one in found]) > 0.9


def test_no_claim_uses_an_estimated_kernel():
    """Adding rows of the kernel sketch to the exact ones does not change any comparison."""

    def value(measure, *, seed, epoch, kernel, arch, rate, augment, **_):
        return 0.3 - 0.01 * epoch + wobble(seed, arch, rate) + 0.1 * (kernel == "conjugate") + 0.05 * augment

    exact = rows(value, rates=(0.01, 0.1), augment=(False, True), pairs=("3/8", "4/9"))
    estimated = exact[exact["kernel"] == "ntk"].assign(kernel="sketch", **dict.fromkeys(MEASURES, 0.9))
    both = pd.concat([exact, estimated], ignore_index=True)
    assert all(part.samples for part in CLAIMS["c2"].parts(exact))
    for name, claim in CLAIMS.items():
        assert claim.parts(both) == claim.parts(exact), name
