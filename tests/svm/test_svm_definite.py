"""Matrices that are not positive semi-definite: refused with their smallest eigenvalue, or projected."""

import pytest
import torch
from svm_problems import normal, random_labels

from afterkernel.errors import UserError
from afterkernel.svm import HardMarginSVM, KernelRidge, MinimumNormInterpolator, OneVsRestSVM, SoftMarginPath
from afterkernel.svm.definite import _has_factor, definite, negative_eigenvalue


def indefinite(n, share):
    """A kernel less `share` of its largest diagonal entry along one vector, and its smallest eigenvalue."""
    X = normal(n, 20)
    v = normal(n, seed=5)
    K = X @ X.T
    v -= X @ torch.linalg.lstsq(X, v[:, None]).solution[:, 0]
    v /= v.norm()
    least = -share * float(K.diagonal().max())
    K = K + least * torch.outer(v, v)
    return (K + K.T) / 2, least


MACHINES = [
    HardMarginSVM(),
    HardMarginSVM("jst"),
    OneVsRestSVM(),
    SoftMarginPath(),
    KernelRidge(),
    MinimumNormInterpolator(),
]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: type(machine).__name__)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_refused_with_the_eigenvalue(machine, dtype):
    K, least = indefinite(100, 0.01)
    with pytest.raises(UserError, match=f"negative eigenvalue {least:.3g}"):
        machine.fit(K.to(dtype), random_labels(100))


def test_lanczos_finds_it_above_2000_samples():
    K, least = indefinite(2100, 0.5)
    assert negative_eigenvalue(K) == pytest.approx(least, rel=1e-3)
    assert negative_eigenvalue(K.float()) == pytest.approx(least, rel=1e-3)


@pytest.mark.parametrize("n", [50, 500, 2100])
def test_rounding_is_no_reason(n):
    X = normal(n, 10)
    for K in (X @ X.T, X.float() @ X.float().T, (X.float() @ X.float().T).double()):
        definite((K + K.T) / 2)


def test_projection_is_that_of_the_clipped_matrix():
    K, least = indefinite(100, 0.5)
    y = random_labels(100)
    machine = HardMarginSVM(project=True).fit(K, y)
    assert machine.projected_eigenvalue_ == pytest.approx(least, rel=1e-3)
    assert "projected" in machine.path_
    values, vectors = torch.linalg.eigh(K)
    clipped = (vectors * values.clamp_min(0)) @ vectors.T
    same = HardMarginSVM().fit((clipped + clipped.T) / 2, y)
    # rows of K, negative part and all, get the decisions of the clipped samples
    torch.testing.assert_close(machine.decision_function(K), same.decision_function(clipped), rtol=1e-6, atol=1e-6)
    assert HardMarginSVM(project=True).fit(clipped + torch.eye(100).double(), y).projected_eigenvalue_ is None


def test_several_classes_share_the_projection():
    K, least = indefinite(90, 0.5)
    machine = OneVsRestSVM(project=True).fit(K, torch.arange(90) % 3)
    assert [each.projected_eigenvalue_ for each in machine.machines_] == pytest.approx([least] * 3)
    assert machine.train_error_ == float((machine.predict(K) != torch.arange(90) % 3).double().mean())


@pytest.mark.parametrize("n", [30, 500, 700])
def test_the_factor_exists_exactly_where_the_shifted_matrix_is_definite(n):
    X = normal(n, n)
    K = X @ X.T / n
    lowest = float(torch.linalg.eigvalsh(K)[0])
    assert _has_factor(K, -lowest + 1e-6)
    assert not _has_factor(K, -lowest - 1e-6)
