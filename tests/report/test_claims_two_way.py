"""Inference over seeds and images: its variance, its correction, and how often chance looks like an effect."""

import math

import numpy as np
import pytest
from scipy import stats

from afterkernel.claims.claim import Sample
from afterkernel.claims.inference import Region, infer_jointly
from afterkernel.claims.two_way import joint_draws, two_way

UP = Region(low=0.0)


def sample(table, seeds=None, **more):
    table = np.asarray(table, dtype=np.float32)
    seeds = tuple(range(len(table)) if seeds is None else seeds)
    return Sample("mnist 3/8", "mlp", tuple(map(float, table.mean(axis=1))), seeds=seeds, images=table, **more)


def effects(generator, seeds, images, by_seed, by_image, rest, mean=0.0):
    own = generator.normal(mean, rest, (seeds, images)) if rest else mean
    return own + generator.normal(0, by_seed, (seeds, 1)) + generator.normal(0, by_image, images)


def test_the_standard_error_is_that_of_the_crossed_model():
    generator = np.random.default_rng(0)
    found = [two_way(effects(generator, 12, 300, 0.3, 2.0, 4.0)) for _ in range(400)]
    expected = 0.3**2 / 12 + 2.0**2 / 300 + 4.0**2 / (12 * 300)
    assert np.var([one.mean for one in found]) == pytest.approx(expected, rel=0.2)
    # The two images that are added make it larger by 2 * largest^2 / images^2, here about 12 %.
    assert 1.0 <= np.mean([one.error**2 for one in found]) / expected <= 1.25


def test_the_analysis_of_variance_by_hand():
    table = np.array([[1.0, 0, 0, 2], [0, 0, 1, 3], [1, -1, 0, 1]])
    mean, n, m = table.mean(), 3, 4
    seeds = np.var(table.mean(axis=1), ddof=1) / n
    images = np.var(table.mean(axis=0), ddof=1) / m + 2 * 3**2 / (m * (m - 1))
    residuals = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + mean
    rest = np.square(residuals).sum() / ((n - 1) * (m - 1)) / (n * m)
    found = two_way(table)
    assert found.mean == pytest.approx(mean)
    assert found.error**2 == pytest.approx(seeds + images - rest)
    degrees = found.error**4 / (seeds**2 / 2 + images**2 / 3 + rest**2 / 6)
    assert found.degrees == pytest.approx(max(degrees, 2.0))
    assert found.upper_tail(0.0, 1.0) == pytest.approx(stats.t.sf(mean / found.error, found.degrees))
    assert found.interval(0.05) == pytest.approx(stats.t.interval(0.95, found.degrees, mean, found.error))


def test_the_interval_covers_the_mean_over_seeds_and_images():
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        low, high = two_way(effects(generator, 8, 60, 0.5, 2.0, 1.0, mean=0.3)).interval(0.05)
        covered += low <= 0.3 <= high
    # Three standard errors of a share of 1,000 at 95 % are 2.1 points; the added images make it a little wider.
    assert 0.929 <= covered / 1000 <= 0.985


def test_an_effect_on_the_same_few_images_is_shown_for_seeds_but_not_for_images():
    table = np.zeros((10, 500))
    table[:, :3] = 100.0  # all seeds are wrong on the same three images
    table += np.random.default_rng(0).normal(0, 0.01, table.shape)
    (found,) = infer_jointly([sample(table)], [UP])
    (seeds_only,) = infer_jointly([Sample("mnist 3/8", "mlp", sample(table).values)], [UP])
    assert seeds_only.p_holds < 0.01 < 0.05 < found.p_holds
    assert (seeds_only.images_low, seeds_only.images_high) == (None, None)
    assert found.images_low < 0 < found.low
    assert found.detectable > seeds_only.detectable
    table[:, :40] = 100.0
    (found,) = infer_jointly([sample(table)], [UP])
    assert found.p_holds_joint < 0.05
    assert 0 < found.images_low < found.mean < found.images_high


def test_answers_that_do_not_differ_show_equivalence_only_with_enough_images():
    within = Region(-1.0, 1.0)
    few, many = (infer_jointly([sample(np.zeros((6, m)))], [within])[0] for m in (200, 2000))
    # By the rule of three, 200 images without a difference bound it by 1.5 points, 2,000 by 0.15.
    assert few.p_holds > 0.05
    assert many.p_holds_joint < 0.05
    (none,) = infer_jointly([sample(np.zeros((6, 200)))], [UP])
    assert (none.p_holds, none.p_fails, none.obstacle) == (1.0, 1.0, "all 6 differences are 0")
    assert -1.5 < none.images_low < 0 < none.images_high < 1.5


def test_draws_are_correlated_where_seeds_or_images_are_shared():
    generator = np.random.default_rng(2)
    image = generator.normal(0, 3.0, 400)
    tables = [two_way(image + generator.normal(0, 1, (8, 400))) for _ in range(3)]
    draws = joint_draws(tables, [range(8)] * 3, ["a", "a", "b"])
    correlation = np.corrcoef(draws.T)
    assert draws.std(axis=0) == pytest.approx(1.0, abs=0.03)
    assert correlation[0, 1] > 0.9
    assert abs(correlation[0, 2]) < 0.05
    unnamed = np.corrcoef(joint_draws(tables, [range(8)] * 3, ["", "", ""]).T)
    assert abs(unnamed[0, 1]) < 0.05
    seed = generator.normal(0, 3.0, (8, 1))
    by_seed = [two_way(seed + generator.normal(0, 0.1, (8, 400))) for _ in range(3)]
    correlation = np.corrcoef(joint_draws(by_seed, [range(8), range(8), range(8, 16)], ["a", "b", "c"]).T)
    assert correlation[0, 1] > 0.9
    assert abs(correlation[0, 2]) < 0.05


def test_the_same_comparison_twice_needs_no_correction_and_others_do():
    generator = np.random.default_rng(3)
    table = effects(generator, 10, 200, 0.1, 5.0, 1.0, mean=0.2)
    others = [sample(effects(generator, 10, 200, 0.1, 5.0, 1.0), test_set=str(place)) for place in range(10)]
    (alone,) = infer_jointly([sample(table)], [UP])
    twice, _ = infer_jointly([sample(table, test_set="x")] * 2, [UP] * 2)
    among = infer_jointly([sample(table, test_set="x"), *others], [UP] * 11)[0]
    assert alone.p_holds_joint == pytest.approx(alone.p_holds, abs=3 * math.sqrt(alone.p_holds / 5000))
    assert twice.p_holds_joint == pytest.approx(alone.p_holds, abs=3 * math.sqrt(alone.p_holds / 5000))
    assert among.p_holds_joint > 2 * among.p_holds == 2 * alone.p_holds
    assert among == infer_jointly([sample(table, test_set="x"), *others], [UP] * 11)[0]


@pytest.mark.parametrize(("rate", "shared"), [(-6.0, 0.0), (-6.0, 3.0), (-4.0, 0.0), (-4.0, 3.0)])
def test_wrong_answers_by_chance_are_rarely_shown(rate, shared):
    """Answers of 10 seeds to 300 images; images differ in difficulty, by kernel in the same way for all seeds."""
    generator = np.random.default_rng(4)
    n, holds, fails = 300, 0, 0
    for _ in range(n):
        difficulty = generator.normal(rate, 2.0, 300) + generator.normal(0, shared, (2, 1, 300))
        wrong = generator.random((2, 10, 300)) < 1 / (1 + np.exp(-difficulty))
        (found,) = infer_jointly([sample(100.0 * wrong[1] - 100.0 * wrong[0])], [UP])
        holds += found.p_holds_joint < 0.05
        fails += found.p_fails_joint < 0.05
    # 2.5 % in each direction and three standard errors of so many sweeps; the seeds alone would give 20 %.
    most = n * (0.025 + 3 * math.sqrt(0.025 / n))
    assert max(holds, fails) <= most
