"""Kernels and labels at the edges of what arrays can hold: the right answer with its certificate, or one sentence."""

import math

import numpy as np
import pytest
import torch
from svm_problems import normal, random_labels

from afterkernel.errors import UserError
from afterkernel.svm import HardMarginSVM
from afterkernel.svm.definite import allowed_eigenvalue

F = normal(60, 8)
K = (F @ F.T + (F @ F.T).T) / 2
APART = (F[:, 0] > 0).long()
MIXED = random_labels(60)


def zero_rows(*rows):
    other = F.clone()
    other[list(rows)] = 0
    return other @ other.T


REFUSED = {
    "negative eigenvalue just below rounding": lambda: (shifted(1.5), APART, "negative eigenvalue"),
    "above the range": lambda: (K * 1e300, MIXED, "scale K so that it lies between 1e-290 and 1e+290"),
    "below the range": lambda: (K * 1e-310, APART, "scale K so that it lies between 1e-290 and 1e+290"),
    "float32 of few digits": lambda: ((K * 1e-41).float(), APART, "scale K so that it lies between 2e-38"),
    "masked entries": lambda: (np.ma.masked_array(K.numpy(), K.numpy() > 1), APART, "K has masked entries"),
    "sparse": lambda: (K.to_sparse(), APART, "K is not a dense tensor"),
    "text": lambda: (np.array([["a", "b"], ["c", "d"]]), APART, "could not convert string to float"),
    "whole numbers": lambda: (K.long(), APART, "K has dtype int64"),
    "half precision": lambda: (K.numpy().astype(np.float16), APART, "K has dtype float16"),
    "numbers in objects as labels": lambda: (K, APART.numpy().astype(object), "Unknown label type: unknown"),
    "text and numbers as labels": lambda: (K, np.array(["a", 1] * 30, dtype=object), "labels of several types"),
    "labels in words of another length": lambda: (K, ["a", "b"], r"y has shape \(2,\): K has 60 samples"),
    "complex labels": lambda: (K, APART.to(torch.complex64), "y is complex"),
    "labels that are nan": lambda: (K, APART * math.nan, "a continuous target has no classes"),
    "labels in a column": lambda: (K, APART[:, None], "y has shape"),
    "no samples": lambda: (K[:0, :0], APART[:0], "y holds no class: a classifier needs at least two"),
}


def shifted(times):
    """K with an eigenvalue so many times what is allowed."""
    v = torch.linalg.eigh(K)[1][:, 0]
    return K + times * allowed_eigenvalue(K) * torch.outer(v, v)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("intercept", [False, True])
def test_refused_in_one_sentence(name, intercept):
    given, y, words = REFUSED[name]()
    with pytest.raises(UserError, match=words.replace("+", "[+]")) as caught:
        HardMarginSVM(intercept=intercept).fit(given, y)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize(
    "spelled",
    [
        lambda: (K.numpy().astype(">f8"), APART.numpy().astype(">i8")),
        lambda: (K.numpy()[::-1, ::-1], APART.numpy()[::-1]),
        lambda: (np.asfortranarray(K.numpy()), APART.bool()),
        lambda: (np.ma.masked_array(K.numpy()), APART.double()),
        lambda: (K * 2.0**100, APART),
        lambda: (K * 2.0**-900, APART),
    ],
)
def test_how_an_array_is_stored_changes_nothing(spelled, intercept):
    plain = HardMarginSVM(intercept=intercept).fit(K, APART)
    assert plain.separable_ is True
    given, y = spelled()
    seen = HardMarginSVM(intercept=intercept).fit(given, y)
    unit = math.sqrt(float(np.asarray(given).diagonal().max()) / float(K.diagonal().max()))
    assert seen.margin_ == pytest.approx(plain.margin_ * unit, rel=1e-10)
    assert seen.gap_ <= 1e-10
    assert seen.train_error_ == 0


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("soft_C", [1e-12, 1e-3, 1e3, 1e6])
def test_soft_margins_at_any_weight(soft_C, intercept):
    machine = HardMarginSVM(intercept=intercept, soft_C=soft_C).fit(K, MIXED)
    assert machine.separable_ is False
    assert machine.soft_certificate_.gap <= 1e-6
    assert machine.converged_


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("n", [2, 60])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_that_are_all_the_same(n, dtype, intercept):
    machine = HardMarginSVM(intercept=intercept).fit(torch.full((n, n), 0.1, dtype=dtype), MIXED[:n])
    assert machine.separable_ is False
    assert machine.converged_


@pytest.mark.parametrize("intercept", [False, True])
def test_zero_samples_need_the_intercept(intercept):
    same, opposite = APART.clone(), APART.clone()
    same[[3, 7]] = 1
    opposite[3], opposite[7] = 0, 1
    assert HardMarginSVM(intercept=intercept).fit(zero_rows(3, 7), opposite).separable_ is False
    if not intercept:
        assert HardMarginSVM().fit(zero_rows(3, 7), same).separable_ is False


def test_lengths_over_300_powers_of_ten():
    machine = HardMarginSVM().fit(torch.diag(torch.logspace(-150, 150, 60, dtype=torch.float64)), MIXED)
    assert machine.separable_ is True
    assert machine.margin_ == pytest.approx(1e-75, rel=1e-6)


def test_an_eigenvalue_that_rounding_explains_is_accepted():
    assert HardMarginSVM().fit(shifted(0.5), APART).train_error_ == 0


def test_a_multiple_of_a_sample_of_the_other_class_is_never_separated():
    G = torch.cat([F, 0.1 * F[:1]])
    assert HardMarginSVM().fit(G @ G.T, torch.cat([APART, 1 - APART[:1]])).separable_ is not True
