"""The numbers of several classes: those of separate two-class fits on the same K, and of scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from afterkernel.svm import BACKENDS, HardMarginSVM, OneVsRestSVM, Outcome
from afterkernel.svm.class_machines import ClassMachines, fit_class_machines

CLASSES = 4


def kernel(n=60, m=25, features=70, seed=0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n + m) % CLASSES
    phi = torch.randn(n + m, features, generator=generator, dtype=torch.float64)
    phi[torch.arange(n + m), y] += 3
    return phi[:n] @ phi[:n].T, phi[n:] @ phi[:n].T, y[:n], y[n:]


@pytest.mark.parametrize("intercept", [False, True])
def test_the_numbers_together_are_those_of_separate_fits(intercept):
    K, K_test, y, _ = kernel()
    found = fit_class_machines(BACKENDS["exact"](intercept=intercept), K, y, CLASSES)
    alone = [HardMarginSVM("exact", intercept=intercept).fit(K, (y == label).long()) for label in range(CLASSES)]
    assert found.margin == min(svm.margin_ for svm in alone)
    assert found.gap == max(svm.gap_ for svm in alone)
    assert found.support.tolist() == sorted({i for svm in alone for i in svm.support_.tolist()})
    assert found.separable is True
    assert found.converged is True
    values = torch.stack([svm.decision_function(K_test) for svm in alone], 1)
    assert torch.equal(found.predict(K_test), values.argmax(1))
    assert torch.equal(found.predict(K_test), OneVsRestSVM("exact", intercept=intercept).fit(K, y).predict(K_test))


def test_they_agree_with_scikit_learn():
    K, K_test, y, _ = kernel()
    found = fit_class_machines(BACKENDS["exact"](intercept=True), K, y, CLASSES)
    margins, values, supports = [], [], set()
    for label in range(CLASSES):
        svm = SVC(C=1e8, kernel="precomputed", tol=1e-9).fit(K.numpy(), y.numpy() == label)
        dual = svm.dual_coef_[0]
        margins.append(1 / np.sqrt(dual @ K.numpy()[np.ix_(svm.support_, svm.support_)] @ dual))
        values.append(svm.decision_function(K_test.numpy()))
        supports |= set(svm.support_[np.abs(dual) > 1e-9 * np.abs(dual).max()].tolist())
    assert found.margin == pytest.approx(min(margins), rel=1e-6)
    assert found.predict(K_test).tolist() == np.argmax(values, 0).tolist()
    assert set(found.support.tolist()) == supports


def test_one_class_that_is_not_separable_leaves_no_margin():
    K, _, y, _ = kernel()
    K[:, 1], K[1, :] = K[:, 0].clone(), K[0, :].clone()  # one image with two labels, 0 and 1
    K[1, 1] = K[0, 0]
    found = fit_class_machines(BACKENDS["exact"](), K, y, CLASSES)
    assert [svm.separable_ for svm in found.machines] == [False, False, True, True]
    assert (found.separable, found.margin, found.gap) == (False, None, None)
    assert found.path.count("against the rest: ") == len({svm.path_ for svm in found.machines})


@pytest.mark.parametrize(("separable", "together"), [([True, None], None), ([None, False], False), ([True] * 2, True)])
def test_what_is_undetermined_for_one_class_is_undetermined(separable, together):
    machines = [HardMarginSVM() for _ in separable]
    for machine, each in zip(machines, separable, strict=True):
        machine.outcome_ = Outcome.of(each, converged=True, soft=False)
    assert ClassMachines(machines).separable is together


def test_warm_starts_change_no_answer():
    K, _K_test, y, _ = kernel()
    cold = fit_class_machines(BACKENDS["exact"](), K, y, CLASSES)
    starts = {label: svm.support_ for label, svm in enumerate(cold.machines) if label != 2}
    warm = fit_class_machines(BACKENDS["exact"](), K, y, CLASSES, starts)
    assert warm.margin == pytest.approx(cold.margin, rel=1e-9)
    assert torch.equal(warm.support, cold.support)
