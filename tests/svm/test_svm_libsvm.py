import pytest
import torch
from svm_problems import linear_labels, normal, oracle_margin, random_labels

from afterkernel.svm import BACKENDS, HardMarginSVM


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e5])
def test_agrees_with_an_exact_solver_with_intercept(dtype, scale):
    X = normal(120, 200)
    y = random_labels(120)
    machine = HardMarginSVM("libsvm").fit((scale * X @ X.T).to(dtype), y)
    assert machine.converged_ is True
    assert machine.separable_ is True
    assert machine.gap_ < 1e-4
    assert machine.certificate_.kkt_violation < 1e-4
    assert float(machine.decision_function(scale * X @ X.T).abs().min()) == pytest.approx(1, abs=1e-4)
    exact = scale**0.5 * oracle_margin(X, y, intercept=True)
    assert machine.margin_ <= exact * (1 + 1e-5)
    assert machine.certificate_.upper >= exact * (1 - 1e-5)
    assert machine.margin_ == pytest.approx(exact, rel=1e-4)


def test_intercept_lies_midway():
    X = normal(80, 8) + 5
    y = linear_labels(X, offset=float((X @ normal(8, seed=2000)).median()))
    K = X @ X.T
    machine = HardMarginSVM("libsvm").fit(K, y)
    f = machine.decision_function(K)
    assert machine.intercept_ != 0
    assert float(f[y == 1].min()) == pytest.approx(-float(f[y == 0].max()), rel=1e-9)
    assert torch.equal(machine.predict(K), y)


def test_margin_exceeds_that_without_intercept():
    X = normal(100, 150)
    y = linear_labels(X)
    exact, libsvm = HardMarginSVM().fit(X @ X.T, y), HardMarginSVM("libsvm").fit(X @ X.T, y)
    assert libsvm.margin_ > exact.margin_


def test_not_separable_ends_without_a_warning():
    X = normal(150, 4)
    machine = HardMarginSVM("libsvm", max_iter=3000).fit(X @ X.T, random_labels(150))
    assert machine.separable_ is False
    assert machine.converged_ is False
    assert "max_iter" in machine.path_
    assert machine.train_error_ > 0


def test_order_of_classes_does_not_matter():
    X = normal(60, 90)
    y = random_labels(60)
    K = X @ X.T
    one, other = HardMarginSVM("libsvm").fit(K, y), HardMarginSVM("libsvm").fit(K.flip(0, 1), y.flip(0))
    assert torch.allclose(one.decision_function(K), other.decision_function(K.flip(1)), atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scale", [1e-4, 1e3])
def test_without_intercept_agrees_with_an_exact_solver(dtype, scale):
    X = normal(90, 120) + 0.5
    y = random_labels(90)
    K = (scale * X @ X.T).to(dtype)
    machine = HardMarginSVM("libsvm", intercept=False).fit(K, y)
    exact = scale**0.5 * oracle_margin(X, y)
    assert machine.converged_ is True
    assert machine.intercept_ == 0
    assert machine.margin_ == pytest.approx(exact, rel=1e-4)
    assert machine.margin_ <= exact * (1 + 1e-5)
    assert machine.certificate_.upper >= exact * (1 - 1e-5)
    assert "mirrored" in machine.path_
    # with an intercept the margin of these shifted data is another
    assert HardMarginSVM("libsvm").fit(K, y).margin_ > exact * 1.001


def test_libsvm_reads_the_mirrored_matrix_without_a_copy(monkeypatch):
    from sklearn.svm import SVC

    def fit(self, matrix, labels):
        given.append(matrix)
        return plain(self, matrix, labels)

    given, plain = [], SVC.fit
    monkeypatch.setattr(SVC, "fit", fit)
    X = normal(20, 30)
    HardMarginSVM("libsvm", intercept=False).fit(X @ X.T, random_labels(20))
    assert given[0].shape == (40, 40)
    assert given[0].dtype == "float64"
    assert given[0].flags.c_contiguous


def test_intercept_belongs_to_the_instance():
    assert BACKENDS["libsvm"]().has_intercept is True
    assert BACKENDS["libsvm"](intercept=False).has_intercept is False


def test_without_intercept_not_separable_ends():
    X = normal(100, 4)
    machine = HardMarginSVM("libsvm", intercept=False, max_iter=2000).fit(X @ X.T, random_labels(100))
    assert machine.separable_ is False
    assert machine.converged_ is False
    assert "max_iter" in machine.path_
