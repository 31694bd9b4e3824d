import importlib.machinery
import importlib.util
import sys
import types

import numpy as np
import pytest
import torch
from svm_problems import normal, oracle_margin, random_labels

from afterkernel.errors import UserError
from afterkernel.svm import BACKENDS, HardMarginSVM
from afterkernel.svm import cuml as module


def problem(n=50, p=80):
    X = normal(n, p) + 0.5
    return X, X @ X.T, random_labels(n)


class DeviceArray:
    """An array that must be fetched, as cupy's."""

    def __init__(self, values):
        self.values = values

    def get(self):
        return self.values


class FakeSVC:
    """The part of cuML's SVC that is used, by scikit-learn; its arrays may lie on a device."""

    wrap = staticmethod(np.asarray)
    spoil = staticmethod(lambda values: values)

    def __init__(self, *, kernel, C, tol, max_iter, output_type):
        from sklearn.svm import SVC

        assert (kernel, output_type) == ("precomputed", "numpy")
        self.machine = SVC(kernel=kernel, C=C, tol=tol, max_iter=max_iter)

    def fit(self, K, y):
        assert K.T.is_contiguous()
        self.dtype = K.dtype
        self.machine.fit(K.numpy().astype(np.float64), y)
        self.support_ = self.wrap(self.machine.support_)
        self.dual_coef_ = self.wrap(self.spoil(self.machine.dual_coef_))
        self.intercept_ = self.wrap(self.machine.intercept_)
        self.n_iter_ = np.array([7])
        return self


@pytest.fixture
def fake(monkeypatch):
    package, svm = types.ModuleType("cuml"), types.ModuleType("cuml.svm")
    package.__spec__ = importlib.machinery.ModuleSpec("cuml", None)
    svm.SVC = type("SVC", (FakeSVC,), {})
    monkeypatch.setitem(sys.modules, "cuml", package)
    monkeypatch.setitem(sys.modules, "cuml.svm", svm)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(module, "_gpu", lambda: torch.device("cpu"))
    return svm.SVC


@pytest.mark.parametrize("wrap", [np.asarray, DeviceArray])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("intercept", [False, True])
def test_agrees_with_an_exact_solver(fake, intercept, dtype, wrap):
    fake.wrap = staticmethod(wrap)
    X, K, y = problem()
    machine = HardMarginSVM("cuml", intercept=intercept).fit(K.to(dtype), y)
    assert machine.converged_ is True
    assert machine.margin_ == pytest.approx(oracle_margin(X, y, intercept=intercept), rel=1e-4)
    assert machine.backend_.has_intercept is intercept
    assert (machine.intercept_ != 0) is intercept
    assert "7 outer iterations" in machine.path_
    assert ("mirrored" in machine.path_) is not intercept


def test_numbers_that_are_not_finite(fake):
    fake.spoil = staticmethod(lambda values: values * np.nan)
    with pytest.raises(UserError, match="not finite"):
        HardMarginSVM("cuml").fit(*problem()[1:])


def test_finite_nonsense_meets_the_certificate(fake):
    fake.spoil = staticmethod(np.negative)
    machine = HardMarginSVM("cuml").fit(*problem()[1:])
    assert machine.converged_ is False
    assert machine.separable_ is True  # decided apart from the backend
    assert np.isnan(machine.margin_)


def test_a_version_without_precomputed_kernels(fake, monkeypatch):
    def fit(self, K, y):
        raise ValueError("unknown kernel:\nprecomputed")

    monkeypatch.setattr(fake, "fit", fit)
    with pytest.raises(
        UserError, match=r"cuML failed \(ValueError: unknown kernel: precomputed\): use the backend exact"
    ):
        HardMarginSVM("cuml").fit(*problem()[1:])


def test_a_package_that_does_not_load(fake, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuml.svm", None)
    with pytest.raises(UserError, match=r"cuML does not load \(ModuleNotFoundError"):
        HardMarginSVM("cuml").fit(*problem()[1:])


def test_missing_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"needs a CUDA device.*pip install afterkernel\[gpu-svm\]"):
        BACKENDS["cuml"]().check()


def test_missing_package(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package cuml.*pip install afterkernel\[gpu-svm\]"):
        HardMarginSVM("cuml").fit(*problem()[1:])


@pytest.mark.gpu
@pytest.mark.skipif(importlib.util.find_spec("cuml") is None, reason="cuml is not installed")
@pytest.mark.parametrize("place", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("intercept", [False, True])
def test_the_real_library_agrees_with_an_exact_solver(intercept, dtype, place):
    X, K, y = problem()
    machine = HardMarginSVM("cuml", intercept=intercept).fit(K.to(place, dtype), y)
    assert machine.converged_ is True
    assert machine.margin_ == pytest.approx(oracle_margin(X, y, intercept=intercept), rel=1e-3)
