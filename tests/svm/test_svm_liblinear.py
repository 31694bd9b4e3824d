import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC
from svm_problems import linear_labels, normal, oracle_margin, random_labels

from afterkernel.svm import HardMarginSVM
from afterkernel.svm.liblinear import recover_dual

TIGHT = {"stop_tol": 1e-10, "max_iter": 20_000}


def problem(n=40, p=60):
    X = normal(n, p) / p**0.5
    return X, X @ X.T, random_labels(n)


@pytest.mark.parametrize("C", [1.0, 100.0])
def test_squared_hinge_is_the_hard_margin_of_a_ridged_kernel(C):
    _, K, y = problem()
    machine = HardMarginSVM("liblinear", C=C, **TIGHT).fit(K, y)
    ridged = HardMarginSVM().fit(K + torch.eye(40).double() / (2 * C), y)
    assert torch.allclose(machine.dual_coef_, ridged.dual_coef_, atol=1e-6 * float(ridged.dual_coef_.abs().max()))
    assert machine.intercept_ == 0
    assert machine.gap_ > 0


def test_squared_hinge_misses_the_hard_margin_by_the_certified_gap():
    X, K, y = problem()
    exact = oracle_margin(X, y)
    machine = HardMarginSVM("liblinear", C=1.0, **TIGHT).fit(K, y)
    assert machine.converged_ is False
    assert machine.margin_ < 0.999 * exact
    assert machine.gap_ >= 1 - machine.margin_ / exact
    assert machine.certificate_.upper >= exact


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_hinge_with_a_large_c_is_the_hard_margin(dtype):
    X, K, y = problem()
    machine = HardMarginSVM("liblinear", loss="hinge", C=1e4, **TIGHT).fit(K.to(dtype), y)
    assert machine.converged_ is True
    assert machine.margin_ == pytest.approx(oracle_margin(X, y), rel=1e-5)


@pytest.mark.parametrize(("loss", "max_iter"), [("squared_hinge", 1000), ("squared_hinge", 3), ("hinge", 20)])
def test_w_is_that_of_the_library_on_the_embeddings_themselves(loss, max_iter):
    X, K, y = problem()
    plain = LinearSVC(C=100, fit_intercept=False, dual=True, random_state=0, loss=loss, max_iter=max_iter)
    if max_iter < 1000:
        with pytest.warns(ConvergenceWarning):
            plain.fit(X.numpy(), y.numpy())
    else:
        plain.fit(X.numpy(), y.numpy())
    machine = HardMarginSVM("liblinear", loss=loss, max_iter=max_iter).fit(K, y)
    w = torch.from_numpy(plain.coef_[0])
    assert torch.allclose(X.T @ machine.dual_coef_, w, atol=1e-6 * float(w.norm()))
    assert ("stopped at max_iter" in machine.path_) is (max_iter < 1000)


def test_scale_decides_and_is_recorded():
    _, K, y = problem()
    K = K / K.diagonal().max()
    gaps = {}
    for scale in (1e-4, 1.0, 1e4):
        machine = HardMarginSVM("liblinear", **TIGHT).fit(scale * K, y)
        assert f"squared_hinge, C = 100, largest norm {scale**0.5:.4g}, rank 40" in machine.path_
        gaps[scale] = machine.gap_
    assert gaps[1e4] < gaps[1.0] < gaps[1e-4]


@pytest.mark.parametrize("loss", ["squared_hinge", "hinge"])
def test_rank_far_below_n(loss):
    X = normal(200, 8)
    X = X[(X @ normal(8, seed=2000)).abs() > 0.5]
    y = linear_labels(X)
    machine = HardMarginSVM("liblinear", loss=loss, C=1e4, stop_tol=1e-6, max_iter=100_000).fit(X @ X.T, y)
    assert "rank 8" in machine.path_
    assert machine.margin_ == pytest.approx(oracle_margin(X, y), rel=1e-2)


def test_not_separable_ends_without_a_warning():
    X = normal(100, 4)
    machine = HardMarginSVM("liblinear", max_iter=20).fit(X @ X.T, random_labels(100))
    assert machine.separable_ is False
    assert machine.converged_ is False
    assert "stopped at max_iter" in machine.path_


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 20), st.integers(0, 10_000))
def test_a_sparse_dual_is_recovered_where_the_rows_are_independent(n, seed):
    random = np.random.default_rng(seed)
    Z = random.standard_normal((n, n)) + 5 * np.eye(n)
    a = random.exponential(size=n) * (random.random(n) < 0.5)
    a[0] = 1
    found, error = recover_dual(Z, Z.T @ a, 0.0)
    assert error < 1e-7
    assert np.allclose(found, a, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 20), st.integers(1, 20), st.integers(0, 10_000), st.sampled_from([0.0, 2.0]))
def test_for_any_w_the_dual_is_feasible_and_its_error_is_exact(n, r, seed, weight):
    random = np.random.default_rng(seed)
    Z, w = random.standard_normal((n, r)), random.standard_normal(r)
    found, error = recover_dual(Z, w, weight)
    assert (found >= 0).all()
    assert error == pytest.approx(np.linalg.norm(Z.T @ found - w) / np.linalg.norm(w))


def test_path_reports_how_well_the_dual_gives_w():
    _, K, y = problem()
    path = HardMarginSVM("liblinear", **TIGHT).fit(K, y).path_
    assert float(re.search(r"dual gives w to (\S+)$", path)[1]) < 1e-8
