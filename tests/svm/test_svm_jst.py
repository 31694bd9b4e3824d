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


def signed_rows(X, y):
    return (2 * y.numpy() - 1)[:, None] * X.numpy() / float((X**2).sum(1).max()) ** 0.5


def test_equals_the_algorithm_in_feature_space():
    X = normal(30, 12)
    y = linear_labels(X)
    Z = signed_rows(X, y)
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
    assert machine.separable_ is False
    assert machine.converged_ is False
    assert "200 steps" in machine.path_


def test_vanishing_combination_is_a_proof():
    machine = HardMarginSVM("jst").fit(torch.ones(2, 2), torch.tensor([0, 1]))
    assert machine.separable_ is False
    assert machine.converged_ is False


@pytest.mark.parametrize("clip", [0.0, 2.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_algorithm_2_equals_the_algorithm_in_feature_space(clip, dtype):
    X = normal(30, 12)
    y = linear_labels(X)
    Z, draws = signed_rows(X, y), torch.Generator().manual_seed(3)
    w, g = np.zeros(12), np.zeros(12)
    for t in range(200):
        exponent = -Z @ w
        q = np.exp(exponent.clip(-clip, clip) if clip else exponent - exponent.max())
        below = np.cumsum(q / q.sum())
        i = np.flatnonzero(below > float(torch.rand((), generator=draws, dtype=torch.float64)) * below[-1])[0]
        z = -Z[i]
        g = t / (t + 1) * (g + z)
        w = w - (g + z)
    options = {"algorithm": 2, "seed": 3, "clip": clip, "max_steps": 200, "tol": 1e-12}
    machine = HardMarginSVM("jst", **options).fit((X @ X.T).to(dtype), y)
    direction = X.T @ machine.dual_coef_
    atol = 1e-12 if dtype == torch.float64 else 1e-5
    assert torch.allclose(direction / direction.norm(), torch.from_numpy(w / np.linalg.norm(w)), atol=atol)
    assert "algorithm 2: 200 steps" in machine.path_


def test_algorithm_2_follows_its_seed():
    X = normal(60, 80)
    K, y = X @ X.T, random_labels(60)
    one, same, other = (
        HardMarginSVM("jst", algorithm=2, seed=seed, max_steps=300, check_every=every).fit(K, y)
        for seed, every in ((1, 50), (1, 7), (2, 50))
    )
    assert torch.equal(one.dual_coef_, same.dual_coef_)
    assert not torch.equal(one.dual_coef_, other.dual_coef_)


def test_algorithm_2_approaches_the_margin_and_stops_at_its_tolerance():
    X = normal(60, 80)
    K, y = X @ X.T, random_labels(60)
    gaps = [HardMarginSVM("jst", algorithm=2, max_steps=steps, tol=1e-9).fit(K, y).gap_ for steps in (100, 1000, 10000)]
    assert gaps[2] < gaps[1] < gaps[0]
    assert gaps[2] < 0.1
    machine = HardMarginSVM("jst", algorithm=2, tol=0.3).fit(K, y)
    assert machine.converged_ is True
    assert "10000 steps" not in machine.path_


def test_clipping_makes_the_weights_uniform_once_all_samples_are_beyond():
    # every sample beyond the clip: the next step is that of the mean of all
    X = normal(20, 40)
    K, y = X @ X.T, random_labels(20)
    steps = 4000
    free, clipped = (HardMarginSVM("jst", max_steps=steps, tol=1e-9, clip=clip).fit(K, y) for clip in (0.0, 1e-9))
    assert free.gap_ < 1e-2 < clipped.gap_
    flat = clipped.dual_coef_.abs()
    assert torch.allclose(flat, flat.mean().expand(20), rtol=1e-6)
    assert "exponent within 1e-09" in clipped.path_
