"""The record of a kernel's SVM if the data are not separable, or K leaves it open."""

import pytest
import torch
from svm_problems import normal, random_labels

from afterkernel.data import Problem
from afterkernel.runs.classify import classify
from afterkernel.svm import estimator, exact
from afterkernel.svm.separability import Separability


@pytest.mark.parametrize("separable", [False, None])
def test_the_soft_margin_is_recorded_and_no_margin(separable, monkeypatch):
    F, y = normal(60, 4), random_labels(60)
    if separable is None:  # which K are left open depends on the rounding of the machine
        for module in (exact, estimator):
            monkeypatch.setattr(module, "decide_separability", lambda *_: Separability(None, "undetermined"))
    K, half = F @ F.T, len(y) // 2
    K = (K + K.T) / 2
    images = torch.zeros(len(y), 1, 2, 2)
    problem = Problem(images, y, images[:half], y[:half], "0", "1")
    warm_starts = {}
    found = classify("ck", K, K[:half], problem, exact.Exact(), warm_starts)
    numbers, warnings = found.numbers, found.warnings
    assert numbers["separable"] is separable
    assert numbers["margin"] is None
    assert numbers["gap"] is None
    assert numbers["converged"] is True
    assert "soft margin" in numbers["svm_path"]
    assert "separable" in warnings[0]
    assert warm_starts == {}
    # squared slacks are the hard margin of K + max K_ii / C I, of full rank: solved by the normal way
    ridged = K + float(K.diagonal().max()) / exact.Exact().soft_C * torch.eye(len(K), dtype=K.dtype)
    dual = _dual(ridged, 2.0 * y - 1)
    wrong = ((K @ dual > 0).long() != y).double()
    assert numbers["svm_train_error"] == pytest.approx(float(wrong.mean()))
    assert numbers["svm_test_error"] == pytest.approx(float(wrong[:half].mean()))


def _dual(K, signs):
    """The signed dual of the hard margin of K, by non-negative least squares."""
    from scipy.optimize import nnls

    scale = K.diagonal().max()
    L = torch.linalg.cholesky(signs[:, None] * signs * K / scale)
    a, _ = nnls(
        L.T.numpy(), torch.linalg.solve_triangular(L, torch.ones(len(K), 1).double(), upper=False)[:, 0].numpy()
    )
    return torch.from_numpy(a) * signs
