import itertools

import numpy as np
import pytest
import torch
from svm_problems import linear_labels, normal, random_labels

from afterkernel.svm import HardMarginSVM


def test_gap_falls_faster_than_the_square_root_of_steps():
    X = normal(150, 60)
    y = linear_labels(X)
    K = X @ X.T
    steps = (100, 400, 1600, 6400)
    gaps = [HardMarginSVM("jst", max_steps=t, tol=1e-12).fit(K, y).gap_ for t in steps]
    assert all(after < before / 4 for before, after in itertools.pairwise(gaps[1:]))
    assert gaps[-1] < 1e-2


def test_equals_the_algorithm_in_feature_space():
    X = normal(30, 12)
    y = linear_labels(X)
    Z = (2 * y.numpy() - 1)[:, None] * X.numpy() / float((X**2).sum(1).max()) ** 0.5
    w, g, q = np.zeros(12), np.zeros(12), np.full(30, 1 / 30)
    for t in range(70):
        g = t / (t + 1) * (g + Z.T @ q)
        w = w + g + Z.T @ q
        q = np.exp(-Z @ w - np.max(-Z @ w))
        q /= q.sum()
    machine = HardMarginSVM("jst", max_steps=70, check_every=13, tol=1e-12).fit(X @ X.T, y)
    direction = X.T @ machine.dual_coef_
    assert torch.allclose(direction / direction.norm(), torch.from_numpy(w / np.linalg.norm(w)), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_stops_at_its_tolerance_and_brackets_the_exact_margin(dtype):
    X = normal(100, 300)
    y = random_labels(100)
    K = (X @ X.T).to(dtype)
    machine, exact = HardMarginSVM("jst").fit(K, y), HardMarginSVM().fit(K, y)
    assert machine.converged_ is True
    assert machine.gap_ <= 1e-3
    assert machine.margin_ <= exact.margin_ <= machine.certificate_.upper
    assert machine.certificate_.min_f == pytest.approx(1, abs=2e-3)


def test_not_separable_ends():
    X = normal(100, 3)
    machine = HardMarginSVM("jst", max_steps=200).fit(X @ X.T, random_labels(100))
    assert machine.separable_ is None
    assert machine.converged_ is False
    assert "200 steps" in machine.path_


def test_vanishing_combination_is_a_proof():
    machine = HardMarginSVM("jst").fit(torch.ones(2, 2), torch.tensor([0, 1]))
    assert machine.separable_ is False
    assert machine.converged_ is False
