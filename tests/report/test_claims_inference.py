"""The statistics under the claims, against SciPy, by hand, and by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from afterkernel.claims.inference import Region, bootstrap_interval, holm, infer

SIX = [0.3, -0.1, 0.8, 0.5, 0.2, 0.9]


def test_p_values_are_those_of_scipys_paired_t_test():
    before, after = np.array([5.0, 6, 7, 8, 9, 10]), np.array([5.0, 6, 7, 8, 9, 10]) + SIX
    expected = stats.ttest_rel(after, before)
    found = infer(list(after - before), Region(low=0.0))
    assert found.p_holds == pytest.approx(expected.pvalue, rel=1e-12)
    assert found.p_fails == 1.0
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    other_way = infer(list(before - after), Region(low=0.0))
    assert (other_way.p_holds, other_way.p_fails) == (1.0, pytest.approx(expected.pvalue, rel=1e-12))


def test_a_bound_that_is_not_zero_is_tested_as_scipy_does():
    found = infer(SIX, Region(high=1.0))
    assert found.p_holds == pytest.approx(2 * stats.ttest_1samp(SIX, 1.0, alternative="less").pvalue, rel=1e-12)


def test_between_two_bounds_it_is_the_worse_of_two_one_sided_tests():
    found = infer(SIX, Region(-1.0, 1.0))
    lower = stats.ttest_1samp(SIX, -1.0, alternative="greater").pvalue
    upper = stats.ttest_1samp(SIX, 1.0, alternative="less").pvalue
    assert found.p_holds == pytest.approx(2 * max(lower, upper), rel=1e-12)
    outside = infer([x + 5 for x in SIX], Region(-1.0, 1.0))
    assert outside.p_fails == pytest.approx(
        2 * stats.ttest_1samp([x + 5 for x in SIX], 1.0, alternative="greater").pvalue, rel=1e-12
    )
    assert outside.p_holds == 1.0


@pytest.mark.parametrize("region", [Region(low=0.3), Region(high=0.6), Region(0.1, 0.7), Region(-1.0, 2.0)])
def test_p_is_below_5_percent_exactly_where_the_interval_says_so(region):
    for shift in np.linspace(-2, 3, 101):
        found = infer([x + shift for x in SIX], region)
        low = -math.inf if region.low is None else region.low
        high = math.inf if region.high is None else region.high
        assert (found.p_holds < 0.05) == (low < found.low and found.high < high)
        assert (found.p_fails < 0.05) == (found.high < low or found.low > high)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "no seed"),
        ([1.0], "n = 1; 5 seeds are needed"),
        ([1.0, 2.0, 3.0, 4.0], "n = 4; 5 seeds are needed"),
        ([0.0] * 5, "all 5 differences are 0"),
        ([-1.2] * 6, "all 6 differences are equal"),
        ([0.1 + 1e-17 * i for i in range(5)], "equal"),
    ],
)
def test_an_untested_claim_gives_the_reason(values, words):
    found = infer(values, Region(low=0.0))
    assert words in found.obstacle
    assert found.p_holds is None
    assert found.p_fails is None


def test_holm_by_hand():
    # Sorted: 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.04 x 1, each at least the one before: 0.04, 0.06, 0.06, 0.06.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([0.01, 0.01]) == [0.02, 0.02]
    assert holm([]) == []


def test_the_bootstrap_is_near_student_for_many_seeds_and_repeats_itself():
    values = list(np.random.default_rng(1).normal(2.0, 1.0, 200))
    found = infer(values, Region(low=0.0))
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values)
    assert low == pytest.approx(found.low, abs=0.03)
    assert high == pytest.approx(found.high, abs=0.03)
    assert bootstrap_interval([1.0]) is None


def test_students_interval_covers_95_percent_and_the_bootstrap_less_with_five_seeds():
    draws = np.random.default_rng(2).normal(0.4, 1.0, (1000, 5))
    covered = bootstrapped = 0
    for values in draws:
        found = infer(list(values), Region(low=0.0))
        covered += found.low <= 0.4 <= found.high
    for values in draws[:300]:
        low, high = bootstrap_interval(list(values))
        bootstrapped += low <= 0.4 <= high
    # Three standard errors of a share of 1,000 at 95 % are 2.1 points.
    assert 0.929 <= covered / 1000 <= 0.971
    assert 0.74 <= bootstrapped / 300 <= 0.90


def test_equivalence_is_rarely_shown_at_its_margin_and_often_where_there_is_none():
    generator = np.random.default_rng(3)
    at_margin, at_zero = (generator.normal(mean, 0.4, (1000, 5)) for mean in (1.0, 0.0))
    region = Region(-1.0, 1.0)
    assert np.mean([infer(list(values), region).p_holds < 0.05 for values in at_margin]) <= 0.04
    assert np.mean([infer(list(values), region).p_holds < 0.05 for values in at_zero]) >= 0.8
