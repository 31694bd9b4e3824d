import numpy as np
import pytest
import torch
from svm_problems import linear_labels, normal, random_labels

from afterkernel.errors import UserError
from afterkernel.svm import KernelRidge, MinimumNormInterpolator


def test_is_the_least_squares_solution_of_least_norm_in_feature_space():
    X, y = normal(30, 80), random_labels(30)
    w = np.linalg.lstsq(X.numpy(), 2 * y.numpy() - 1.0)[0]
    machine = MinimumNormInterpolator().fit(X @ X.T, y)
    assert machine.interpolates_ is True
    assert machine.rank_ == 30
    assert machine.residual_ < 1e-10
    assert machine.train_error_ == 0
    assert machine.norm_ == pytest.approx(float(np.linalg.norm(w)), rel=1e-10)
    X_test = normal(8, 80, seed=1)
    assert machine.decision_function(X_test @ X.T).numpy() == pytest.approx(X_test.numpy() @ w, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_singular_kernel_of_which_the_labels_are_not_in_the_range(dtype):
    X, y = normal(50, 6).to(dtype), random_labels(50)
    K = X @ X.T
    machine = MinimumNormInterpolator().fit(K, y)
    signs = 2 * y.numpy() - 1.0
    assert machine.interpolates_ is False
    assert machine.rank_ == 6
    pinv = np.linalg.pinv(K.double().numpy(), rcond=1e-4, hermitian=True)
    assert machine.dual_coef_.numpy() == pytest.approx(pinv @ signs, rel=1e-5, abs=1e-9)
    fitted = X.double().numpy() @ np.linalg.lstsq(X.double().numpy(), signs)[0]
    assert machine.residual_ == pytest.approx(np.abs(fitted - signs).max(), rel=1e-4)
    assert machine.train_error_ == np.mean((fitted > 0) != y.numpy())


def test_duplicates():
    X = normal(20, 40)
    y = random_labels(20)
    X2, same = torch.cat([X, X[:1]]), torch.cat([y, y[:1]])
    agreeing = MinimumNormInterpolator().fit(X2 @ X2.T, same)
    assert agreeing.interpolates_ is True
    assert agreeing.rank_ == 20
    assert agreeing.norm_ == pytest.approx(MinimumNormInterpolator().fit(X @ X.T, y).norm_, rel=1e-9)
    contradicting = MinimumNormInterpolator().fit(X2 @ X2.T, torch.cat([y, 1 - y[:1]]))
    assert contradicting.interpolates_ is False
    assert contradicting.residual_ == pytest.approx(1, rel=1e-9)  # both copies get 0


def test_is_the_limit_of_ridge_regression():
    X = normal(30, 50)
    y = linear_labels(X)
    limit, ridge = MinimumNormInterpolator().fit(X @ X.T, y), KernelRidge([1e-12]).fit(X @ X.T, y)
    assert torch.allclose(limit.dual_coef_, ridge.dual_coef_, rtol=1e-6, atol=1e-9)


def test_float32_numbers_as_float64_are_no_more_precise():
    X = normal(60, 5)
    y = random_labels(60)
    K = (X @ X.T).float()
    single, double = MinimumNormInterpolator().fit(K, y), MinimumNormInterpolator().fit(K.double(), y)
    assert (single.rank_, double.rank_) == (5, 5)
    assert torch.equal(single.dual_coef_, double.dual_coef_)


def test_cutoff():
    values = torch.tensor([1.0, 0.5, 1e-3, 1e-5], dtype=torch.float64)
    y = torch.tensor([0, 1, 1, 0])
    for cutoff, rank in [(None, 4), (0.0, 4), (1e-5, 3), (1e-4, 3), (0.6, 1)]:
        machine = MinimumNormInterpolator(cutoff).fit(values.diag(), y)
        assert (machine.rank_, machine.interpolates_) == (rank, rank == 4)
    assert MinimumNormInterpolator(1e-4, tol=1.5).fit(values.diag(), y).interpolates_ is True


def test_zero_rows_have_no_interpolator():
    machine = MinimumNormInterpolator(0.0).fit(torch.tensor([1.0, 1.0, 0.0]).diag(), torch.tensor([0, 1, 1]))
    assert (machine.rank_, machine.interpolates_, machine.residual_) == (2, False, 1.0)
    assert bool(torch.isfinite(machine.dual_coef_).all())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cutoff": -0.1}, "cutoff=-0.1"),
        ({"cutoff": 1.0}, "cutoff=1"),
        ({"tol": 0.0}, "tol=0"),
        ({"tol": -1}, "tol=-1"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(UserError, match=words):
        MinimumNormInterpolator(**options).fit(torch.eye(2), torch.arange(2))
