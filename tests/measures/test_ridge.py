import numpy as np
import pytest
import torch
from measure_cases import LAYERS, jacobian, measured, net, normed, problem

from afterkernel.svm.ridge import RIDGES


def by_hand(train, test, y, y_test):
    """Kernel ridge regression fitted n times, each without one image, at every ridge; then its best on the test set."""
    K, sign = train @ train.T, y * 2.0 - 1
    scale, n = K.diagonal().max(), len(K)
    errors, squares = [], []
    for ridge in RIDGES:
        residuals = []
        for i in range(n):
            rest = np.delete(np.arange(n), i)
            a = np.linalg.solve(K[np.ix_(rest, rest)] + ridge * scale * np.eye(n - 1), sign[rest])
            residuals.append(sign[i] - K[i, rest] @ a)
        errors.append(np.mean((sign - residuals > 0) != (sign > 0)))
        squares.append(np.mean(np.square(residuals)))
    best = min(range(len(RIDGES)), key=lambda r: (errors[r], squares[r]))
    a = np.linalg.solve(K + RIDGES[best] * scale * np.eye(n), sign)
    wrong = np.mean((test @ train.T @ a > 0) != (y_test > 0))
    return wrong, errors[best], RIDGES[best]


def test_numbers_of_a_run_agree_with_refits_on_raw_embeddings():
    given, model = problem(), net()
    found = measured(model, given, per_layer=True)
    y, y_test = given.y_train.numpy(), given.y_test.numpy()
    for name in ("ntk", "conjugate"):
        train, test, _ = normed(model, given, name)
        wrong, left_out, ridge = by_hand(train, test, y, y_test)
        numbers = found[name]
        assert numbers["ridge_test_error"] == pytest.approx(wrong, abs=1e-6)
        assert numbers["ridge_loo_error"] == pytest.approx(left_out, abs=1e-6)
        assert numbers["ridge"] == pytest.approx(ridge, rel=1e-6)
    for layer in LAYERS:
        raw = jacobian(model, given.x_train, layer), jacobian(model, given.x_test, layer)
        assert found["ntk"][f"{layer}/ridge_loo_error"] == pytest.approx(by_hand(*raw, y, y_test)[1], abs=1e-6)


def test_the_sample_alone_is_trained_on_and_tested_on():
    given, model = problem(60, 40), net()
    found = measured(model, given, gram_images=25, num_images=13, seed=3, names=["ridge"])["ntk"]
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(3))[:25].sort().values
    tested = torch.randperm(40, generator=torch.Generator().manual_seed(3))[:13].sort().values
    train, test, _ = normed(model, given, "ntk")
    wrong, left_out, _ = by_hand(train[rows], test[tested], given.y_train[rows].numpy(), given.y_test[tested].numpy())
    assert (found["ridge_test_error"], found["ridge_loo_error"]) == (pytest.approx(wrong), pytest.approx(left_out))


def test_products_of_less_precision_are_not_judged_by_it():
    found = measured(net(), problem(), dtype="bf16", kernels=("ntk",), names=["ridge", "layer_svm"], per_layer=True)
    assert set(found["ntk"].values()) == {None}
