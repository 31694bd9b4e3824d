import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics.pairwise import rbf_kernel
from svm_problems import normal

from afterkernel.errors import UserError
from afterkernel.svm import HardMarginSVM, OneVsRestSVM


def digits(n=300, m=200):
    X, y = load_digits(return_X_y=True)
    return (
        rbf_kernel(X[:n] / 16, gamma=0.05),
        y[:n],
        rbf_kernel(X[n : n + m] / 16, X[:n] / 16, gamma=0.05),
        y[n : n + m],
    )


def test_ten_classes_of_real_digits():
    K, y, K_test, y_test = digits()
    machine = OneVsRestSVM().fit(K, y)
    assert machine.converged_ is True
    assert machine.train_error_ == 0
    assert len(machine.machines_) == 10
    assert machine.classes_.tolist() == list(range(10))
    assert machine.margin_ == min(each.margin_ for each in machine.machines_) > 0
    assert machine.gap_ == max(each.gap_ for each in machine.machines_) <= 1e-6
    f = machine.decision_function(K_test)
    assert f.shape == (200, 10)
    for label in range(10):
        alone = HardMarginSVM().fit(K, (y == label).astype(int))
        assert machine.machines_[label].margin_ == pytest.approx(alone.margin_, rel=1e-9)
        assert f[:, label] == pytest.approx(alone.decision_function(K_test), rel=1e-7, abs=1e-9)
        assert machine.machines_[label].decision_function(K_test).tolist() == f[:, label].tolist()
    assert machine.predict(K_test).tolist() == np.argmax(f, 1).tolist()
    assert machine.score(K_test, y_test) == np.mean(np.argmax(f, 1) == y_test) > 0.85
    names = np.array([f"digit {label}" for label in range(10)])
    assert OneVsRestSVM().fit(K, names[y]).predict(K_test).tolist() == names[np.argmax(f, 1)].tolist()
    union = set().union(*(alone.support_.tolist() for alone in machine.machines_))
    assert machine.support_.tolist() == sorted(union)


def test_a_class_without_a_margin_leaves_all_without_one():
    x = torch.tensor([0.0, 1.0, 1.0, -1.0], dtype=torch.float64)  # class 1 is not separable by a line through 0
    machine = OneVsRestSVM().fit(torch.outer(x, x) + torch.diag(torch.tensor([1.0, 0, 0, 1]).double()), [0, 1, 2, 2])
    assert any(each.separable_ is False for each in machine.machines_)
    assert np.isnan([machine.margin_, machine.gap_]).all()


def test_options_reach_every_machine():
    X = normal(40, 60)
    y = torch.arange(40) % 3
    machine = OneVsRestSVM("jst", max_steps=7).fit(X @ X.T, y)
    assert all("7 steps" in each.path_ for each in machine.machines_)
    assert machine.converged_ is False
    with pytest.raises(UserError, match="backend=svmlight is not known"):
        OneVsRestSVM("svmlight").fit(X @ X.T, y)
    with pytest.raises(UserError, match="soft_C is not an option of the jst backend"):
        machine.set_params(soft_C=1.0).fit(X @ X.T, y)


def test_two_classes_are_one_machine():
    X = normal(30, 50)
    y = torch.arange(30) % 2
    machine, alone = OneVsRestSVM().fit(X @ X.T, y), HardMarginSVM().fit(X @ X.T, y)
    assert len(machine.machines_) == 1
    assert torch.equal(machine.decision_function(X @ X.T), alone.decision_function(X @ X.T))
    assert torch.equal(machine.support_, alone.support_)
    assert torch.equal(machine.predict(X @ X.T), y)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([0, 0, 0, 0], "only one class, 0: a classifier needs at least two"),
        ([0, 1, 0.5, 1], "labels 0.0, 0.5, 1.0: a continuous target"),
        ([0, 1, 2], r"shape \(3,\).*\(4,\)"),
    ],
)
def test_wrong_labels(y, words):
    with pytest.raises(UserError, match=words):
        OneVsRestSVM().fit(torch.eye(4), torch.tensor(y))


def test_before_fit():
    with pytest.raises(UserError, match="OneVsRestSVM is not fitted"):
        OneVsRestSVM().predict(torch.eye(4))
    assert not hasattr(OneVsRestSVM(), "classes_")
