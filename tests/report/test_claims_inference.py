"""The tests of a claim's comparisons together, against enumeration by hand and SciPy, and by properties."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from afterkernel.claims.claim import Sample
from afterkernel.claims.inference import Inference, Region, infer_jointly

SIX = (0.3, -0.1, 0.8, 0.5, 0.2, 0.9)
UP, DOWN = Region(low=0.0), Region(high=0.0)


def sample(values, seeds=(), **more):
    return Sample("mnist 3/8", "mlp", tuple(map(float, values)), seeds=tuple(seeds), **more)


def infer(values, region=UP, **more):
    (found,) = infer_jointly([sample(values, **more)], [region])
    return found


def student(values):
    """Student's t in plain Python; infinite where all values are equal, 0 where they are 0."""
    n, mean = len(values), math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (n - 1))
    if spread < 1e-12 * max(map(abs, values)):
        return math.copysign(math.inf, mean)
    return mean / (spread / math.sqrt(n)) if any(values) else 0.0


def enumerated(columns):
    """Two-sided p by hand of each column {seed: difference}: alone, single-step, and step-down over all columns."""
    seeds = sorted({seed for column in columns for seed in column})
    observed = [student(list(column.values())) for column in columns]
    order = sorted(range(len(columns)), key=lambda j: -observed[j])
    own, single, step = ([0] * len(columns) for _ in range(3))
    for signs in itertools.product((1, -1), repeat=len(seeds)):
        sign = dict(zip(seeds, signs, strict=True))
        flipped = [student([sign[seed] * x for seed, x in column.items()]) for column in columns]
        for rank, j in enumerate(order):
            reached = observed[j] - 1e-9 * abs(observed[j]) if math.isfinite(observed[j]) else observed[j]
            own[j] += flipped[j] >= reached
            single[j] += max(flipped) >= reached
            step[j] += max(flipped[k] for k in order[rank:]) >= reached
    largest = 0
    for j in order:
        largest = step[j] = max(largest, step[j])
    return [[min(1.0, 2 * count / 2 ** len(seeds)) for count in counts] for counts in (own, single, step)]


@pytest.mark.parametrize("seed", range(4))
def test_p_values_are_those_of_all_flips_by_hand(seed):
    generator = np.random.default_rng(seed)
    values = generator.normal([0.9, 0.5, -0.2, 0.0], 1.0, (7, 4)).T
    # One sample lacks a seed; the seeds are named by number, in any order.
    seeds = [[3, 1, 4, 0, 5, 9, 2]] * 3 + [[9, 2, 3, 1, 4, 5]]
    samples = [sample(v[: len(s)], s) for v, s in zip(values, seeds, strict=True)]
    regions = [UP, Region(low=-0.1), UP, Region(high=0.3)]
    columns = [
        {s: sign * (v - bound) for s, v in zip(one.seeds, one.values, strict=True)}
        for one, (bound, sign) in zip(samples, [(0.0, 1), (-0.1, 1), (0.0, 1), (0.3, -1)], strict=True)
    ]
    found = infer_jointly(samples, regions)
    own, single, step = enumerated(columns)
    assert [one.p_holds for one in found] == pytest.approx(own, rel=1e-12)
    assert [one.p_holds_joint for one in found] == pytest.approx(step, rel=1e-12)
    assert all(a <= b for a, b in zip(step, single, strict=True))
    own, _, step = enumerated([{s: -x for s, x in column.items()} for column in columns])
    assert [one.p_fails for one in found] == pytest.approx(own, rel=1e-12)
    assert [one.p_fails_joint for one in found] == pytest.approx(step, rel=1e-12)


@pytest.mark.parametrize("bound", [0.0, 0.3, -1.0])
def test_one_sample_agrees_with_scipys_permutation_test(bound):
    for values in (SIX, (0.05, 0.1, 0.05, -0.05, 0.1, 0.0, 0.05)):
        expected = stats.permutation_test(
            (np.array(values) - bound,), np.mean, permutation_type="samples", alternative="greater", n_resamples=np.inf
        )
        assert infer(values, Region(low=bound)).p_holds == pytest.approx(min(1, 2 * expected.pvalue), rel=1e-12)


def test_more_than_twelve_seeds_are_flipped_at_random_and_agree_with_all_flips():
    values = np.random.default_rng(0).normal(0.45, 1.0, 14)
    signs = 1 - 2 * (np.arange(2**14)[:, None] >> np.arange(14) & 1)
    exact = 2 * ((signs @ values) >= values.sum()).mean()
    found = infer(values)
    assert found.p_holds == pytest.approx(exact, abs=3 * 2 * math.sqrt(exact / 2 / 10_000))
    assert found.p_holds * 10_001 / 2 == pytest.approx(round(found.p_holds * 10_001 / 2))
    assert infer(np.linspace(100, 101, 20)).p_holds_joint == pytest.approx(2 / 10_001)
    assert infer(values) == found


def test_between_two_bounds_both_must_be_shown_and_outside_is_corrected_for_two():
    near, far = (0.1, -0.2, 0.15, 0.0, 0.3, -0.1, 0.05), (1.3, 1.1, 1.4, 1.2, 1.15, 1.6, 1.25)
    both = Region(-0.5, 1.0)
    one, other = infer(near, Region(low=-0.5)), infer(near, Region(high=1.0))
    assert infer(near, both).p_holds == max(one.p_holds, other.p_holds) < 0.05
    outside = infer(far, both)
    assert infer(far, Region(high=1.0)).p_fails <= outside.p_fails <= 2 * infer(far, Region(high=1.0)).p_fails
    assert outside.p_holds == 1.0
    assert outside.p_fails_joint == outside.p_fails < 0.05


def test_students_interval_and_p_values_are_shown_as_scipy_gives_them():
    expected = stats.ttest_1samp(SIX, 0.0)
    found = infer(SIX)
    assert (found.mean, found.sd) == (pytest.approx(np.mean(SIX)), pytest.approx(np.std(SIX, ddof=1)))
    assert found.error == pytest.approx(stats.sem(SIX))
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert (found.p_holds_t, found.p_fails_t) == (pytest.approx(expected.pvalue), 1.0)
    within = infer(SIX, Region(-1.0, 1.0))
    tails = [stats.ttest_1samp(SIX, -1, alternative="greater"), stats.ttest_1samp(SIX, 1, alternative="less")]
    assert within.p_holds_t == pytest.approx(2 * max(tail.pvalue for tail in tails))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "no seed"),
        ([1.0], "n = 1, but 6 seeds are needed"),
        ([1.0, 2.0, 3.0, 4.0, 5.0], "n = 5, but 6 seeds are needed"),
    ],
)
def test_too_few_seeds_give_the_reason_and_are_no_part_of_the_correction(values, words):
    few, six = infer_jointly([sample(values), sample(SIX)], [UP, UP])
    assert words in few.obstacle
    assert few == Inference(few.n, few.mean, few.sd, few.error, few.low, few.high, obstacle=few.obstacle)
    assert six == infer(SIX)


def test_an_obstacle_of_the_pairing_prevents_the_test():
    found = infer(SIX, obstacle="losses differ")
    assert (found.obstacle, found.p_holds, found.detectable) == ("losses differ", None, None)
    assert found.mean == pytest.approx(np.mean(SIX))


@pytest.mark.parametrize("n", [6, 9, 20])
def test_equal_differences_have_the_smallest_p_and_zeros_have_1(n):
    smallest = 2 / 2**n if n <= 12 else 2 / 10_001
    equal, zero = infer_jointly([sample([0.1 + 1e-17] * n), sample([0.0] * n)], [UP, UP])
    assert (equal.p_holds, equal.p_fails, equal.p_holds_t, equal.obstacle) == (pytest.approx(smallest), 1.0, 0.0, "")
    assert (zero.p_holds, zero.p_fails, zero.p_holds_joint) == (1.0, 1.0, 1.0)
    assert zero.obstacle == f"all {n} differences are 0"
    assert infer([0.0] * n, Region(-1, 1)).p_holds == pytest.approx(smallest)
    assert infer([0.9] * n, Region(low=0.9)).obstacle == f"all {n} values are at the bound 0.9"


def test_differences_that_are_rounding_count_as_0():
    noise = [(0.1 + 0.2) - 0.3] * 6
    assert infer(noise, before=0.3, after=0.3).obstacle == "all 6 differences are 0"


def test_some_zeros_halve_the_flips_and_ties_count():
    # Signs of the zeros change nothing: of 2^6 flips 2^2 give the observed sum, as SciPy's exact test says.
    assert infer([0.1, 0.1, 0.1, 0.1, 0.0, 0.0]).p_holds == pytest.approx(2 * 4 / 64)


NUMBERS = st.lists(st.integers(-20, 20), min_size=18, max_size=18)


@settings(max_examples=40, deadline=None)
@given(numbers=NUMBERS, scale=st.sampled_from([1e-6, 0.1, 3.0, 1e5]), order=st.permutations(range(6)))
def test_units_the_order_of_seeds_and_the_direction_change_nothing(numbers, scale, order):
    table = np.array(numbers, dtype=float).reshape(3, 6)

    def p_values(values, regions, seeds=range(6)):
        found = infer_jointly([sample(one, seeds) for one in values], regions)
        return np.array([[one.p_holds, one.p_fails, one.p_holds_joint, one.p_fails_joint] for one in found])

    regions = [UP, Region(high=2.0), Region(-3.0, 3.0)]
    scaled = [UP, Region(high=2.0 * scale), Region(-3.0 * scale, 3.0 * scale)]
    expected = p_values(table, regions)
    np.testing.assert_allclose(p_values(table * scale, scaled), expected)
    np.testing.assert_allclose(p_values(table[:, order], regions, order), expected)
    np.testing.assert_allclose(p_values(-table, [DOWN, Region(low=-2.0), Region(-3.0, 3.0)]), expected)
    one_bound = p_values(table[:2], [UP, UP])
    np.testing.assert_allclose(p_values(table[:2], [DOWN, DOWN]), one_bound[:, [1, 0, 3, 2]])
    assert (expected[:, 2:] >= expected[:, :2]).all()


def test_no_comparison_gives_nothing():
    assert infer_jointly([], []) == []
