"""False verdicts by chance, and the power that is promised, by simulation."""

import math

import numpy as np
import pytest

from afterkernel.claims import power
from afterkernel.claims.claim import Sample
from afterkernel.claims.inference import Region, infer_jointly
from afterkernel.claims.power import planned_detectable, seeds_needed
from afterkernel.claims.two_way import two_way

UP = Region(low=0.0)


def joint(table, region=UP):
    """The inference on a table (seeds, comparisons)."""
    seeds = tuple(range(len(table)))
    return infer_jointly([Sample("d", "n", tuple(one), seeds=seeds) for one in table.T], [region] * table.shape[1])


@pytest.fixture
def only_p(monkeypatch):
    monkeypatch.setattr("afterkernel.claims.joint_tests.detectable_by_seeds", lambda *_: 0.0)


@pytest.mark.parametrize(("noise", "n"), [("normal", 10), ("exponential", 10), ("t", 10), ("exponential", 7)])
def test_chance_is_shown_in_at_most_2_5_percent_per_direction(noise, n, only_p):
    """Two arms of 12 comparisons, with exchangeable noise, in part of the seed; half of the sweeps have an effect."""
    generator = np.random.default_rng(0)
    draw = {
        "normal": generator.standard_normal,
        "exponential": generator.standard_exponential,
        "t": lambda shape: generator.standard_t(2, shape),
    }[noise]
    sweeps, holds, fails = 400, 0, 0
    for sweep in range(sweeps):
        before, after = (draw((n, 12)) + draw((n, 1)) for _ in range(2))
        # Effects elsewhere, in both directions, must not make the others look like some.
        after[:, :4] += 5.0 * (sweep % 2) * np.array([1, 1, -1, 1])
        found = joint(after - before)[4:]
        holds += any(one.p_holds_joint < 0.05 for one in found)
        fails += any(one.p_fails_joint < 0.05 for one in found)
    # 2.5 %, and three standard errors of so many sweeps.
    assert max(holds, fails) / sweeps <= 0.025 + 3 * math.sqrt(0.025 / sweeps)
    if n == 10 and noise == "normal":
        assert min(holds, fails) / sweeps >= 0.005


def test_equivalence_is_rarely_shown_at_its_margin_and_often_where_there_is_no_effect(only_p):
    generator = np.random.default_rng(3)
    shown = [
        np.mean([joint(generator.normal(mean, 0.4, (8, 1)), Region(-1, 1))[0].p_holds < 0.05 for _ in range(600)])
        for mean in (1.0, 0.0)
    ]
    assert shown[0] <= 0.025 + 3 * math.sqrt(0.025 / 600)
    assert shown[1] >= 0.9


@pytest.mark.parametrize(("n", "comparisons"), [(6, 1), (7, 4), (10, 1), (10, 16), (14, 2)])
def test_the_detectable_effect_is_shown_in_80_percent_of_sweeps(n, comparisons, only_p):
    effect = planned_detectable(n, comparisons)

    def shown(effect):
        generator = np.random.default_rng(1)
        sweeps = 300 if n <= 10 else 150
        tables = (generator.standard_normal((n, comparisons)) for _ in range(sweeps))
        return np.mean([joint(one + effect * (np.arange(comparisons) == 0))[0].p_holds_joint < 0.05 for one in tables])

    # The effect is within 10 % of the one that has a power of 80 %.
    assert shown(effect / 1.1) < 0.8 < shown(effect * 1.1)


def test_the_detectable_effect_of_a_sweep_is_in_units_of_its_spread():
    table = np.random.default_rng(2).standard_normal((10, 16))
    found = joint(table)
    assert np.median([one.detectable / one.sd for one in found]) == pytest.approx(planned_detectable(10, 16), rel=0.1)
    scaled = joint(100 * table)
    assert [one.detectable for one in scaled] == pytest.approx([100 * one.detectable for one in found])
    (alone,) = joint(table[:, :1])
    assert alone.detectable / alone.sd == pytest.approx(planned_detectable(10, 1))
    assert alone.detectable < found[0].detectable
    assert joint(np.ones((7, 1)))[0].detectable == 0.0


def test_nothing_is_detectable_where_no_p_value_is_small_enough():
    # With six seeds all others must be smaller for every flip; a strong effect in the other direction prevents that.
    assert power.detectable_by_seeds(6, 1.0, np.full(63, np.inf)) == math.inf


def test_the_seeds_needed_are_the_fewest_that_detect_the_effect():
    assert seeds_needed(1.0, 1.0, 1) == 11
    for comparisons in (1, 8, 64):
        for effect in (0.3, 1.0, 3.0):
            needed = seeds_needed(effect, 1.0, comparisons)
            assert planned_detectable(needed, comparisons) <= effect
            assert needed == 6 or planned_detectable(needed - 1, comparisons) > effect
    assert seeds_needed(2.0, 0.0, 8) == 6
    assert seeds_needed(0.0, 1.0, 1) is None
    assert seeds_needed(0.01, 1.0, 8) is None


def test_images_limit_what_more_seeds_show():
    generator = np.random.default_rng(5)
    table = two_way(
        generator.normal(0, 0.5, (10, 1)) + generator.normal(0, 10, 400) + generator.normal(0, 1, (10, 400))
    )
    # The images alone have a standard error of about 0.5.
    assert seeds_needed(1.0, 0.5, 1, table) is None
    assert seeds_needed(2.5, 0.5, 1, table) is not None
    assert seeds_needed(2.5, 0.5, 1, table) >= seeds_needed(2.5, 0.5, 1)
    assert table.planned(10)[0] == pytest.approx(table.error)
    assert table.planned(10**6)[0] == pytest.approx(math.sqrt(table.shared), rel=1e-3)
