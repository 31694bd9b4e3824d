import math

import pytest
import torch
from svm_problems import linear_labels, normal, random_labels

from afterkernel.svm import certify
from afterkernel.svm.certificate import balance
from afterkernel.svm.exact import Exact


def dual(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_two_orthogonal_samples_by_hand():
    # phi_1 = (2, 0), phi_2 = (0, 1), y = (+, -): w = (1/2, -1), |w|^2 = 5/4, margin 2 / sqrt(5)
    K = torch.tensor([[4.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    found = certify(K, dual(1, -1), dual(1 / 4, 1))
    assert found.margin == pytest.approx(2 / math.sqrt(5), rel=1e-15)
    assert found.upper == pytest.approx(2 / math.sqrt(5), rel=1e-15)
    assert found.gap == pytest.approx(0, abs=1e-15)
    assert found.separable is True
    assert found.min_f == pytest.approx(1)
    assert (found.n_support, found.train_error, found.intercept) == (2, 0.0, 0.0)
    assert found.kkt_violation == pytest.approx(0, abs=1e-14)


def test_suboptimal_dual_by_hand():
    # a = (1, 1) on the same samples: f = (4, 1), |w|^2 = 5: margin 1 / sqrt(5), upper sqrt(5) / 2, gap 1 - 2/5
    K = torch.tensor([[4.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    found = certify(K, dual(1, -1), dual(1, 1))
    assert found.margin == pytest.approx(1 / math.sqrt(5))
    assert found.upper == pytest.approx(math.sqrt(5) / 2)
    assert found.gap == pytest.approx(3 / 5)
    # K / 4 and 4a, scaled by 8/20 so that a'f = 1'a: a = 1.6, f = (1.6, 0.4): max |min(a, f - 1)|
    assert found.kkt_violation == pytest.approx(0.6)


def test_intercept_by_hand():
    # points 1 and 5 on a line, with intercept: distance 4, margin 2, midway at 3: w = 1/2, b = -3/2
    x = dual(5, 1)
    found = certify(torch.outer(x, x), dual(1, -1), dual(1 / 8, 1 / 8), has_intercept=True)
    assert found.margin == pytest.approx(2)
    assert found.upper == pytest.approx(2)
    assert found.intercept == pytest.approx(-1.5)
    assert found.separable is True
    assert found.train_error == 0
    # without intercept both lie on one side of 0
    assert certify(torch.outer(x, x), dual(1, -1), dual(1 / 8, 1 / 8)).train_error == 0.5


def test_opposite_copies_are_proved_not_separable():
    K = torch.ones(2, 2, dtype=torch.float64)
    found = certify(K, dual(1, -1), dual(3, 3))
    assert found.separable is False
    assert found.upper == 0
    assert certify(K, dual(1, -1), dual(1, 0)).separable is None
    assert certify(K.float(), dual(1, -1), dual(1, 1 - 1e-4)).separable is False


def test_zero_dual_proves_nothing():
    found = certify(torch.eye(2, dtype=torch.float64), dual(1, -1), dual(0, 0))
    assert found.separable is None
    assert (found.margin, found.upper, found.gap) == (0.0, math.inf, 1.0)


def test_precision_of_float32_is_less():
    # squared margin 1e-7 of the diagonal: between the two precisions
    step = 1e-7
    K = torch.tensor([[1.0, 1 - step], [1 - step, 1.0]], dtype=torch.float64)
    a = dual(1, 1) / (step)
    assert certify(K, dual(1, -1), a).separable is True
    assert certify(K.float(), dual(1, -1), a).separable is False


def test_every_dual_brackets_the_margin():
    X = normal(40, 60)
    y = 2 * random_labels(40).double() - 1
    K = X @ X.T
    best = certify(K, y, Exact().solve(K, y).dual)
    for seed in range(20):
        found = certify(K, y, normal(40, seed=seed).abs())
        assert found.margin <= best.upper * (1 + 1e-12)
        assert found.upper >= best.margin * (1 - 1e-12)
        assert found.gap >= 0


def test_ridge_is_that_of_the_kernel_with_it():
    X = normal(30, 5)
    y = 2 * random_labels(30).double() - 1
    a = normal(30, seed=3).abs()
    K = X @ X.T
    with_ridge, direct = certify(K, y, a, ridge=0.7), certify(K + 0.7 * torch.eye(30, dtype=torch.float64), y, a)
    assert with_ridge.margin == pytest.approx(direct.margin, rel=1e-12)
    assert with_ridge.upper == pytest.approx(direct.upper, rel=1e-12)
    assert with_ridge.separable is None
    assert with_ridge.train_error == certify(K, y, a).train_error


def test_rows_in_chunks_equal_one_product():
    X = normal(700, 30)
    y = 2 * linear_labels(X).double() - 1
    K, a = X @ X.T, normal(700, seed=4).abs()
    f = y * (K @ (y * a))
    found = certify(K, y, a)
    assert found.min_f == pytest.approx(float(f.min()), rel=1e-12)
    assert found.upper == pytest.approx(float((a @ f).sqrt() / a.sum()), rel=1e-12)


def test_balance():
    y = dual(1, 1, -1)
    assert balance(dual(1, 2, 1), y).tolist() == pytest.approx([2 / 3, 4 / 3, 2])
    assert balance(dual(1, 2, 0), y).tolist() == [0, 0, 0]
