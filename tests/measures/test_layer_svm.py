import numpy as np
import pytest
import scipy.optimize
from measure_cases import LAYERS, OFFSET, jacobian, measured, net, problem


def hard_margin(train, y):
    """Margin and weights of the hard-margin SVM without intercept, as a least-distance problem solved by SciPy's NNLS
    (Lawson and Hanson, "Solving least squares problems", 1974, chapter 23)."""
    rows = train * (y * 2.0 - 1)[:, None]
    E = np.vstack([rows.T, np.ones(len(rows))])
    f = np.r_[np.zeros(rows.shape[1]), 1.0]
    residual = E @ scipy.optimize.nnls(E, f)[0] - f
    w = -residual[:-1] / residual[-1]
    return 1 / np.linalg.norm(w), w


def test_each_layer_has_its_margin_and_error():
    given, model = problem(24, 17), net()
    found = measured(model, given, per_layer=True, names=["layer_svm"])
    assert set(found["ntk"]) == {f"{layer}/{name}" for layer in LAYERS for name in ("margin", "svm_test_error")}
    assert found["conjugate"] == {}
    Z = OFFSET + np.linalg.norm(jacobian(model, given.x_train), axis=1).mean()
    checked = 0
    for layer in LAYERS:
        if found["ntk"][f"{layer}/margin"] is None:
            continue
        train, test = jacobian(model, given.x_train, layer) / Z, jacobian(model, given.x_test, layer) / Z
        # As many dimensions as images say all that the margin depends on.
        basis = np.linalg.svd(train, full_matrices=False)[2]
        margin, w = hard_margin(train @ basis.T, given.y_train.numpy())
        assert found["ntk"][f"{layer}/margin"] == pytest.approx(margin, rel=1e-6, abs=1e-6)
        wrong = np.mean((test @ basis.T @ w > 0) != (given.y_test.numpy() > 0))
        assert found["ntk"][f"{layer}/svm_test_error"] == pytest.approx(wrong, abs=1e-6)
        checked += 1
    assert checked >= 1


def test_without_layers_there_is_nothing():
    assert measured(net(), problem(), names=["layer_svm"]) == {"ntk": {}, "conjugate": {}}
