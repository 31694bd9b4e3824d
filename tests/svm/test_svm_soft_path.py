import math

import daqp
import numpy as np
import pytest
import torch
from svm_problems import linear_labels, normal, random_labels

import afterkernel.svm.soft_path as module
from afterkernel.errors import UserError
from afterkernel.svm import HardMarginSVM, SoftMarginPath


def problem(n=80, p=10, seed=0):
    X = normal(n, p, seed=seed)
    y = linear_labels(X, seed)
    y[::9] = 1 - y[::9]
    return X, y


def oracle(X, y, C, weights=1.0):
    """w and the slacks of the primal with squared slacks, by daqp."""
    n, p = X.shape
    weight = C / float((X**2).sum(1).max())
    H = np.diag(np.concatenate([np.ones(p), np.full(n, weight) * weights]))
    A = np.hstack([(2 * y.numpy() - 1)[:, None] * X.numpy(), np.eye(n)])
    found, _, status, _ = daqp.solve(H, np.zeros(n + p), A, np.full(n, 1e30), np.ones(n), np.zeros(n, dtype=np.int32))
    assert status == 1
    return found[:p], found[p:], weight


@pytest.mark.parametrize("p", [10, 200])
def test_agrees_with_the_primal_by_another_solver(p):
    X, y = problem(p=p)
    grid = [0.03, 1.0, 40.0, 3e3]
    path = SoftMarginPath(grid).fit(X @ X.T, y)
    assert path.converged_ is True
    assert float(path.gap_.max()) < 1e-8
    for place, C in enumerate(grid):
        w, slacks, weight = oracle(X, y, C)
        assert (X.T @ path.dual_coefs_[place]).numpy() == pytest.approx(w, rel=1e-6, abs=1e-8)
        assert float(path.train_error_[place]) == np.mean((X.numpy() @ w > 0) != y.numpy())
        assert float(path.margin_[place]) == pytest.approx(1 / math.sqrt(w @ w + weight * slacks @ slacks), rel=1e-8)
        # a sample is a support vector where its slack is above 0
        assert int(path.n_support_[place]) == int((slacks > 1e-9 * slacks.max()).sum())


@pytest.mark.parametrize("n", [80, 520])
@pytest.mark.parametrize("zeros", [False, True])
def test_weights_multiply_c_for_each_sample(zeros, n):
    X, y = problem(n)
    weights = 0.1 + torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).numpy()
    largest = int((X**2).sum(1).argmax())
    if zeros:  # the sample that says what C means stays one of them
        weights[::5] = weights[largest] = 0
    kept = weights > 0
    grid = [0.03, 1.0, 300.0]
    path = SoftMarginPath(grid).fit(X @ X.T, y, sample_weight=weights)
    assert path.converged_ is True
    for place, C in enumerate(grid):
        scaled = C * float((X[kept] ** 2).sum(1).max() / (X**2).sum(1).max())
        w, slacks, weight = oracle(X[kept], y[kept], scaled, weights[kept])
        assert (X.T @ path.dual_coefs_[place]).numpy() == pytest.approx(w, rel=1e-6, abs=1e-8)
        wrong = (X.numpy() @ w > 0) != y.numpy()
        assert float(path.train_error_[place]) == pytest.approx(weights @ wrong / weights.sum())
        squares = weight * weights[kept] @ slacks**2
        assert float(path.margin_[place]) == pytest.approx(1 / math.sqrt(w @ w + squares), rel=1e-8)
    assert bool((path.dual_coefs_[:, ~kept] == 0).all())


def test_weights_of_one_change_nothing():
    X, y = problem()
    plain, ones = SoftMarginPath().fit(X @ X.T, y), SoftMarginPath().fit(X @ X.T, y, sample_weight=np.ones(80))
    assert torch.allclose(plain.dual_coefs_, ones.dual_coefs_, rtol=1e-12, atol=0)
    assert torch.allclose(plain.loo_error_, ones.loo_error_)
    assert torch.equal(plain.train_error_, ones.train_error_)


def test_each_row_is_that_of_its_own_c_alone():
    X, y = problem(n=400, p=30)
    K = X @ X.T
    grid = np.array([1.0, 1e3, 1e-2, 1e3])
    path = SoftMarginPath(grid).fit(K, y)
    assert torch.equal(path.dual_coefs_[1], path.dual_coefs_[3])
    assert "nested" in path.paths_[1]
    assert "next larger C" in path.paths_[0]
    for place, C in enumerate(grid):
        alone = SoftMarginPath([C]).fit(K, y)
        assert torch.allclose(path.dual_coefs_[place], alone.dual_coef_, rtol=1e-8, atol=1e-12)
        shifted = HardMarginSVM().fit(K + K.diagonal().max() / C * torch.eye(400).double(), y)
        assert float(path.margin_[place]) == pytest.approx(shifted.margin_, rel=1e-10)


def test_where_the_start_is_of_no_use_the_answer_is_the_same(monkeypatch):
    X, y = problem()
    expected = SoftMarginPath().fit(X @ X.T, y)
    monkeypatch.setattr(module, "primal_dual", lambda gram, pool, start, max_steps: (None, 0))
    path = SoftMarginPath().fit(X @ X.T, y)
    assert all("nested" in words for words in path.paths_)
    assert torch.allclose(path.dual_coefs_, expected.dual_coefs_, rtol=1e-7, atol=1e-10)


def test_large_c_is_the_hard_margin():
    X = normal(60, 100)
    y = random_labels(60)
    K = X @ X.T
    path, hard = SoftMarginPath([1e10]).fit(K.float(), y), HardMarginSVM().fit(K.float(), y)
    assert float(path.margin_[0]) == pytest.approx(hard.margin_, rel=1e-6)
    assert torch.equal(path.predict(K), y)


def test_span_rule_is_exact_where_a_sample_left_out_takes_no_other_along():
    X, y = problem(n=50, p=4)
    K, signs = X @ X.T, 2 * y.double() - 1
    ridge, everyone = float(K.diagonal().max()) / 3.0, torch.arange(50)
    path = SoftMarginPath([3.0]).fit(K, y)
    support = path.dual_coef_.nonzero().squeeze(1)
    Q = (signs[:, None] * signs * K + ridge * torch.eye(50).double())[support][:, support]
    predicted = 1 - (path.dual_coef_ * signs)[support] / torch.linalg.inv(Q).diagonal()
    kept, wrong = 0, 0
    for i, guess in zip(support.tolist(), predicted.tolist(), strict=True):
        rest = everyone[everyone != i]
        # the same ridge, whichever sample has the largest diagonal entry
        C = float(K[rest][:, rest].diagonal().max()) / ridge
        refit = SoftMarginPath([C]).fit(K[rest][:, rest], y[rest])
        value = float(signs[i] * (K[i, rest] @ refit.dual_coef_))
        wrong += value < 0
        if rest[refit.dual_coef_ != 0].tolist() == support[support != i].tolist():
            kept += 1
            assert value == pytest.approx(guess, rel=1e-8, abs=1e-10)
    assert kept >= 10
    assert float(path.loo_error_[0]) == float((predicted < 0).sum()) / 50
    assert float(path.loo_error_[0]) == pytest.approx(wrong / 50, abs=0.05)


def test_chosen_c():
    X, y = problem(n=120)
    path = SoftMarginPath().fit(X @ X.T, y)
    place = min(range(len(path.C)), key=lambda i: (float(path.loo_error_[i]), path.C[i]))
    assert path.C[place] == path.C_
    assert torch.equal(path.dual_coef_, path.dual_coefs_[place])
    assert module.span_error(-torch.eye(2).double(), torch.ones(2).double()) == math.inf


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"C": []}, "C is empty"),
        ({"C": [-1.0]}, "C holds -1"),
        ({"C": [math.inf]}, "C holds inf"),
        ({"tol": 0.0}, "tol=0"),
        ({"max_steps": 0}, "max_steps=0"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(UserError, match=words):
        SoftMarginPath(**options).fit(torch.eye(2), torch.arange(2))
