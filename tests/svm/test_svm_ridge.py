import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.kernel_ridge import KernelRidge as Reference
from svm_problems import linear_labels, normal, random_labels

from afterkernel.errors import UserError
from afterkernel.svm import KernelRidge
from afterkernel.svm import ridge as ridge_module


def problem(n=40, p=60, seed=0):
    X = normal(n, p, seed=seed)
    y = linear_labels(X, seed)
    y[::7] = 1 - y[::7]
    return X @ X.T, y


def left_out(K, y, ridge):
    """The value at each sample of the ridge regression fitted to all the others."""
    n, values = len(K), []
    K, signs = K.double().numpy(), 2 * y.numpy() - 1.0
    for i in range(n):
        rest = np.delete(np.arange(n), i)
        dual = np.linalg.solve(K[np.ix_(rest, rest)] + ridge * np.eye(n - 1), signs[rest])
        values.append(K[i, rest] @ dual)
    return np.array(values)


@pytest.mark.parametrize("ridge", [1e-6, 1e-2, 1.0, 30.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_agrees_with_another_implementation(ridge, dtype):
    K, y = problem()
    K = 7 * K.to(dtype)
    machine = KernelRidge([ridge]).fit(K, y)
    reference = Reference(alpha=ridge * float(K.diagonal().max()), kernel="precomputed")
    reference.fit(K.double().numpy(), 2 * y.numpy() - 1.0)
    assert machine.dual_coef_.numpy() == pytest.approx(reference.dual_coef_, rel=1e-6, abs=1e-12)
    K_test = normal(9, 40).to(dtype)
    assert machine.decision_function(K_test).numpy() == pytest.approx(
        reference.predict(K_test.double().numpy()), rel=1e-6, abs=1e-9
    )
    fitted = reference.predict(K.double().numpy())
    assert float(machine.train_error_[0]) == np.mean((fitted > 0) != y.numpy())


@settings(deadline=None, max_examples=25)
@given(
    n=st.integers(4, 25),
    rank=st.integers(1, 40),
    seed=st.integers(0, 10**6),
    power=st.floats(-7, 2),
    flips=st.booleans(),
)
def test_leave_one_out_is_that_of_refits(n, rank, seed, power, flips):
    X = normal(n, rank, seed=seed)
    y = random_labels(n, seed) if flips else (X[:, 0] > X[:, 0].median()).long()
    K, ridges = X @ X.T, [10**power, 1e-3]
    machine = KernelRidge(ridges).fit(K, y)
    for place, ridge in enumerate(ridges):
        values = left_out(K, y, ridge * float(K.diagonal().max()))
        signs = 2 * y.numpy() - 1
        assert float(machine.loo_mse_[place]) == pytest.approx(np.mean((signs - values) ** 2), rel=1e-6)
        sure = np.abs(values) > 1e-6
        wrong = (values > 0) != (signs > 0)
        assert wrong[sure].sum() <= n * float(machine.loo_error_[place]) + 1e-9
        assert n * float(machine.loo_error_[place]) <= wrong[sure].sum() + (~sure).sum() + 1e-9


def test_tiny_ridges_on_a_singular_kernel_of_duplicates():
    # at ridge 1e-9, H_ii is 1 to nine digits for the samples without a copy
    X = normal(20, 50)
    X = torch.cat([X, X[:5]])
    y = linear_labels(X)
    K = X @ X.T
    machine = KernelRidge([1e-9]).fit(K, y)
    values = left_out(K, y, 1e-9 * float(K.diagonal().max()))
    assert float(machine.loo_mse_[0]) == pytest.approx(np.mean((2 * y.numpy() - 1 - values) ** 2), rel=1e-5)
    assert float(machine.loo_error_[0]) == np.mean((values > 0) != y.numpy())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("zeros", [0, 9])
def test_weighted_squares_agree_with_another_implementation_and_with_refits(dtype, zeros):
    K, y = problem()
    K = K.to(dtype)
    weights = 3 * torch.rand(40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights[:zeros] = 0
    ridge = 0.01 * float(K.diagonal().max())
    signs = 2 * y.numpy() - 1.0

    def reference(rows):
        found = Reference(alpha=ridge, kernel="precomputed")
        return found.fit(K.double().numpy()[np.ix_(rows, rows)], signs[rows], sample_weight=weights.numpy()[rows])

    machine = KernelRidge([0.01]).fit(K, y, sample_weight=weights)
    whole = reference(np.arange(40))
    assert machine.dual_coef_.numpy() == pytest.approx(whole.dual_coef_, rel=1e-7, abs=1e-12)
    assert bool((machine.dual_coef_[:zeros] == 0).all())
    share = weights.numpy() / float(weights.sum())
    wrong = (whole.predict(K.double().numpy()) > 0) != y.numpy()
    assert float(machine.train_error_[0]) == pytest.approx(share @ wrong)
    values = np.zeros(40)
    for i in range(40):
        rest = np.delete(np.arange(40), i)
        values[i] = reference(rest).predict(K.double().numpy()[[i]][:, rest])[0]
    assert float(machine.loo_mse_[0]) == pytest.approx(share @ (signs - values) ** 2, rel=1e-7)
    assert float(machine.loo_error_[0]) == pytest.approx(share @ ((values > 0) != y.numpy()))


def test_equal_weights_are_a_smaller_ridge():
    K, y = problem()
    one, other = KernelRidge([0.3]).fit(K, y, sample_weight=np.full(40, 3.0)), KernelRidge([0.1]).fit(K, y)
    assert torch.allclose(one.dual_coef_, other.dual_coef_, rtol=1e-10, atol=0)
    assert float(one.loo_mse_[0]) == pytest.approx(float(other.loo_mse_[0]))


def test_the_ridge_is_chosen_by_error_and_then_by_squared_residual():
    K, y = problem(60, 20)
    machine = KernelRidge().fit(K, y)
    pairs = list(zip(machine.loo_error_.tolist(), machine.loo_mse_.tolist(), machine.ridges, strict=True))
    assert machine.ridge_ == min(pairs)[2]
    assert 0 < pairs.index(min(pairs)) < len(pairs) - 1
    alone = KernelRidge([machine.ridge_]).fit(K, y)
    assert torch.allclose(machine.dual_coef_, alone.dual_coef_, rtol=1e-12, atol=0)


def test_orthogonal_samples_do_not_affect_each_other():
    machine = KernelRidge([1.0, 1e-3]).fit(torch.eye(4), torch.tensor([0, 1, 0, 1]))
    assert machine.loo_mse_.tolist() == pytest.approx([1.0, 1.0])
    assert machine.train_error_.tolist() == [0.0, 0.0]


def test_scale_of_the_kernel_does_not_matter():
    K, y = problem()
    one, other = KernelRidge().fit(K, y), KernelRidge(np.array(KernelRidge().ridges)).fit(1e6 * K, y)
    assert one.ridge_ == other.ridge_
    assert torch.allclose(one.loo_mse_, other.loo_mse_, rtol=1e-8, atol=0)


def test_samples_in_chunks():
    X = normal(600, 10)
    y = linear_labels(X)
    machine = KernelRidge([0.1]).fit(X @ X.T, y)
    ridge = 0.1 * float((X**2).sum(1).max())
    G = torch.linalg.inv(X @ X.T + ridge * torch.eye(600).double())
    residual = (G @ (2 * y.double() - 1)) / G.diagonal()
    assert float(machine.loo_mse_[0]) == pytest.approx(float(residual.square().mean()), rel=1e-10)


def test_indefinite_kernels_are_refused():
    K = torch.full((3, 3), -0.9).double() + 1.9 * torch.eye(3).double()
    with pytest.raises(UserError, match=r"negative eigenvalue -0.8.*positive semi-definite"):
        KernelRidge().fit(K, torch.tensor([0, 1, 1]))
    # what float32 leaves below 0 is rounding, also where it is stored in float64
    X = normal(300, 5)
    rounded = (X @ X.T).float()
    for K in (rounded, rounded.double()):
        assert float(KernelRidge().fit(K, linear_labels(X)).loo_error_.min()) < 0.1


@pytest.mark.parametrize(
    ("ridges", "words"), [([], "ridges is empty"), ([1.0, 0.0], "ridges holds 0"), ([float("nan")], "ridges holds nan")]
)
def test_wrong_ridges(ridges, words):
    with pytest.raises(UserError, match=words):
        KernelRidge(ridges).fit(torch.eye(2), torch.arange(2))


def test_wrong_input():
    K, y = problem()
    with pytest.raises(UserError, match="not symmetric"):
        KernelRidge().fit(K + normal(40, 40), y)
    with pytest.raises(UserError, match="continuous target"):
        KernelRidge().fit(K, y / 2)
    with pytest.raises(UserError, match="KernelRidge is not fitted"):
        KernelRidge().predict(K)
    machine = KernelRidge().fit(K, y)
    with pytest.raises(UserError, match=r"K_test has shape \(40, 39\)"):
        machine.predict(K[:, 1:])
    with pytest.raises(UserError, match="NaN"):
        machine.predict(K * float("nan"))
    with pytest.raises(UserError, match=r"y has shape \(39,\)"):
        machine.score(K, y[1:])


def low_rank(seed, rank, n=80, m=100):
    """Embeddings of low rank, rotated so that float32 rounds all entries, and labels that they explain in part."""
    X = normal(n + m, rank, seed=seed) @ normal(rank, rank + 40, seed=seed + 1)
    X = X / X.norm(dim=1, keepdim=True)
    y = linear_labels(X, seed)
    y[::5] = 1 - y[::5]
    return X[:n], X[n:], y[:n], y[n:]


@given(seed=st.integers(0, 1000), rank=st.integers(1, 60))
@settings(max_examples=25)
def test_ridges_that_may_be_chosen_give_the_function_of_exact_embeddings(seed, rank):
    train, test, y, _ = low_rank(seed, rank)
    K, K_test = (train @ train.T).float(), (test @ train.T).float()
    chosen = []
    for ridge in ridge_module.RIDGES:
        try:
            machine = KernelRidge([ridge]).fit(K, y)
        except UserError:
            continue
        exact = KernelRidge([ridge]).fit(train @ train.T, y).decision_function(test @ train.T)
        assert float((machine.decision_function(K_test) - exact).square().mean().sqrt()) <= 0.1
        chosen.append(ridge)
    assert chosen == [ridge for ridge in ridge_module.RIDGES if ridge >= chosen[0]]
    assert chosen[0] <= 1e-3


def test_a_ridge_below_the_precision_of_the_kernel_is_not_chosen():
    """Residuals on K itself do not show that its decision function is noise on other samples."""
    train, test, y, _ = low_rank(0, 3)
    K, K_test = (train @ train.T).float(), (test @ train.T).float()
    values, vectors = torch.linalg.eigh(K.double())
    dual = vectors @ ((vectors.T @ (2.0 * y - 1).double()) / (values.clamp_min(0) + 1e-9))
    noise = (K_test.double() @ dual - test @ train.T @ dual).square().mean().sqrt()
    estimate = float(ridge_module.rounding_errors(K, dual[:, None]))
    assert 0.01 * estimate <= float(noise) <= estimate  # the estimate allows for errors of a computed K
    assert estimate > 1
    with pytest.raises(UserError, match=r"ridges holds 1e-09, at which the precision of K leaves .* in float64"):
        KernelRidge([1e-9]).fit(K, y)
    assert KernelRidge([1e-9, 1e-2]).fit(K, y).ridge_ == 1e-2
    # float64 copies of float32 numbers are no more precise, and exact float64 numbers are
    with pytest.raises(UserError, match="ridges holds 1e-09"):
        KernelRidge([1e-9]).fit(K.double(), y)
    assert KernelRidge([1e-9]).fit(train @ train.T, y).ridge_ == 1e-9
