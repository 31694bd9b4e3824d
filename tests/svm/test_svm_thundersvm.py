import importlib.util

import numpy as np
import pytest
import torch
from svm_problems import linear_labels, normal, oracle_margin, random_labels

from afterkernel.errors import UserError
from afterkernel.svm import HardMarginSVM
from afterkernel.svm import thundersvm as module

real = pytest.mark.skipif(importlib.util.find_spec("thundersvm") is None, reason="thundersvm is not installed")


def problem(n=60, p=90):
    X = normal(n, p)
    return X, X @ X.T, random_labels(n)


@pytest.fixture
def child(monkeypatch, tmp_path):
    """Replaces the child by a script of one's own, which finds the folder in sys.argv[1]."""

    def replace(code):
        script = tmp_path / "child.py"
        script.write_text(code)
        monkeypatch.setattr(module, "CHILD", script)
        monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: name)
        return HardMarginSVM("thundersvm", timeout_s=20.0)

    return replace


@real
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_agrees_with_an_exact_solver_with_intercept(dtype):
    X, K, y = problem()
    machine = HardMarginSVM("thundersvm").fit(K.to(dtype), y)
    assert machine.converged_ is True
    assert machine.separable_ is True
    assert machine.margin_ == pytest.approx(oracle_margin(X, y, intercept=True), rel=1e-4)
    assert torch.equal(machine.predict(K.to(dtype)), y)


@real
@pytest.mark.parametrize("first", [0, 1])
def test_class_of_the_first_row_does_not_matter(first):
    K, y = problem()[1:]
    order = torch.argsort((y != first).long(), stable=True)
    assert y[order][0] == first
    machine = HardMarginSVM("thundersvm").fit(K[order][:, order], y[order])
    libsvm = HardMarginSVM("libsvm").fit(K, y)
    assert torch.equal(machine.predict(K[:, order]), y)
    assert torch.allclose(machine.decision_function(K[:, order]), libsvm.decision_function(K), atol=1e-3)


@real
def test_low_rank_kernel():
    X = normal(120, 10)
    y = linear_labels(X, offset=0.2)
    machine = HardMarginSVM("thundersvm").fit(X @ X.T, y)
    assert "rank 10" in machine.path_
    assert machine.margin_ == pytest.approx(HardMarginSVM("libsvm").fit(X @ X.T, y).margin_, rel=1e-3)


def test_time_limit(child):
    machine = child("import time; time.sleep(60)")
    machine.backend.timeout_s = 0.2
    with pytest.raises(UserError, match=r"timeout_s=0.2"):
        machine.fit(*problem()[1:])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.abort()", "exit code -6"),
        ("raise OSError('libcusparse.so.9 not found')", r"exit code 1 \(OSError: libcusparse.so.9 not found\)"),
        ("pass", "without an answer"),
        ("import sys; sys.exit(0)", "without an answer"),
    ],
)
def test_child_that_dies(child, code, words):
    with pytest.raises(UserError, match=words):
        child(code).fit(*problem()[1:])


ANSWER = """
import sys, numpy as np
y = np.load(sys.argv[1] + "/y.npy")
np.save(sys.argv[1] + "/signed.npy", {signed})
np.save(sys.argv[1] + "/intercept.npy", np.zeros(1))
"""


def test_child_that_returns_nonsense(child):
    K, y = problem()[1:]
    with pytest.raises(UserError, match="not finite"):
        child(ANSWER.format(signed="y * np.nan")).fit(K, y)
    with pytest.raises(UserError, match="not finite"):
        child(ANSWER.format(signed="y[:-1]")).fit(K, y)
    # finite nonsense meets the certificate
    wrong_sign = child(ANSWER.format(signed="-y")).fit(K, y)
    assert wrong_sign.converged_ is False
    assert wrong_sign.separable_ is None
    flat = child(ANSWER.format(signed="y")).fit(K, y)
    assert flat.converged_ is False
    assert flat.gap_ > 1e-3


def test_missing_package(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install afterkernel\[thundersvm\]"):
        HardMarginSVM("thundersvm").fit(*problem()[1:])


@pytest.mark.parametrize("rank", [7, 80])
def test_gram_factor(rank):
    X = normal(80, rank).numpy()
    K = X @ X.T / (X**2).sum(1).max()
    F = module.gram_factor(K.copy(), 1e-14)
    assert F.shape == (80, rank)
    assert np.abs(F @ F.T - K).max() < 1e-12


def test_gram_factor_of_an_indefinite_matrix_is_that_of_its_positive_part():
    U = np.linalg.qr(normal(30, 30).numpy())[0]
    values = np.linspace(-0.5, 2, 30)
    F = module.gram_factor((U * values) @ U.T, 1e-14)
    assert np.abs(F @ F.T - (U * values.clip(min=0)) @ U.T).max() < 1e-12
