import math

import pandas as pd
import pytest

from afterkernel.claims.stats import columns, mean_over_seeds


def test_mean_and_standard_error_by_hand():
    # 1, 2, 6: mean 3, squares 4 + 1 + 9 = 14, variance 7, standard error sqrt(7 / 3); t(2, 0.975) = 4.302653.
    found = mean_over_seeds([1.0, 2.0, 6.0])
    assert found.mean == 3.0
    assert found.error == pytest.approx(math.sqrt(7 / 3), rel=1e-12)
    assert found.high - 3.0 == pytest.approx(4.302653 * math.sqrt(7 / 3), rel=1e-6)
    assert found.low == pytest.approx(6.0 - found.high)
    assert found.n == 3


def test_one_seed_has_no_error_and_none_has_no_mean():
    assert columns(mean_over_seeds([0.5]), "x_") == {
        "x_mean": 0.5,
        "x_standard_error": None,
        "x_ci95_low": None,
        "x_ci95_high": None,
        "x_n_seeds": 1,
    }
    assert mean_over_seeds([]) is None
    assert columns(None)["n_seeds"] == 0


def test_missing_values_are_left_out_of_mean_and_count():
    found = mean_over_seeds([1.0, None, pd.NA, float("nan"), 3.0])
    assert (found.mean, found.error, found.n) == (2.0, 1.0, 2)


def test_an_interval_is_cut_off_where_the_mean_can_not_lie():
    rates = [0.0, 0.0, 0.03]
    assert mean_over_seeds(rates).low < 0
    cut = mean_over_seeds(rates, (0.0, 1.0))
    assert (cut.low, cut.high) == (0.0, mean_over_seeds(rates).high)
    assert mean_over_seeds([0.99, 1.0, 0.9], (0.0, 1.0)).high == 1.0
