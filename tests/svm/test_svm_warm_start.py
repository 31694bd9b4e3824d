import numpy as np
import pytest
import torch
from svm_problems import linear_labels, normal, random_labels

from afterkernel.errors import UserError
from afterkernel.svm import BACKENDS, HardMarginSVM


def problem(n=900, rank=1200, labels=linear_labels):
    X = normal(n, rank)
    return X @ X.T, labels(X)


def support_of_a_similar_kernel(K, y, **options):
    n = len(K)
    E = normal(n, n, seed=5)
    return HardMarginSVM(**options).fit(K + 1e-2 * E @ E.T, y).support_


def assert_same(one, other, K):
    assert other.separable_ is one.separable_
    if one.separable_:
        assert max(one.gap_, other.gap_) <= 1e-10
        assert other.margin_ == pytest.approx(one.margin_, rel=1e-10)
    assert other.intercept_ == pytest.approx(one.intercept_, abs=1e-7)
    assert torch.allclose(other.decision_function(K), one.decision_function(K), rtol=0, atol=1e-7)


@pytest.mark.parametrize("intercept", [False, True])
def test_support_of_a_similar_kernel_saves_steps(intercept):
    K, y = problem()
    cold = HardMarginSVM(intercept=intercept).fit(K, y)
    start = support_of_a_similar_kernel(K, y, intercept=intercept)
    warm = HardMarginSVM(intercept=intercept).fit(K, y, start=start)
    assert_same(cold, warm, K)
    assert "from the given start" in warm.path_
    assert "nested" not in warm.path_
    steps = [int(machine.path_.split(": ")[1].split()[0]) for machine in (cold, warm)]
    assert steps[1] < steps[0] / 2
    assert torch.equal(warm.support_, cold.support_)


USELESS = {
    "empty": lambda y: [],
    "one sample": lambda y: [7],
    "one class": lambda y: torch.nonzero(y == 0).squeeze(1)[:40],
    "all samples": lambda y: torch.arange(len(y)),
    "the first ones": lambda y: np.arange(50),
    "repeated, unordered": lambda y: [9, 3, 9, 400, 3, 8],
    "nearly half": lambda y: range(0, len(y) - 2, 2),
    "unsigned": lambda y: np.arange(30, dtype=np.uint8),
}


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("case", ["full rank", "low rank", "not separable"])
@pytest.mark.parametrize("start", USELESS.values(), ids=USELESS)
def test_useless_starts_change_nothing(start, case, intercept):
    K, y = problem(500, 700) if case == "full rank" else problem(500, 12)
    if case == "not separable":
        y = random_labels(500)
    cold = HardMarginSVM(intercept=intercept).fit(K, y)
    assert cold.separable_ is (case != "not separable")
    assert_same(cold, HardMarginSVM(intercept=intercept).fit(K, y, start=start(y)), K)


def test_no_start_means_all_samples_at_once():
    # never more equations at once than a few times the support: not even from a start of all samples
    K, y = problem(1000, 40)
    largest = 0
    cholesky = torch.linalg.cholesky_ex

    def watched(M):
        nonlocal largest
        largest = max(largest, len(M))
        return cholesky(M)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.linalg, "cholesky_ex", watched)
        # without the check of eigenvalues, which factors K once
        machine = HardMarginSVM()
        machine.backend_ = BACKENDS["exact"]()
        machine.fit_checked(K, None, 2.0 * y - 1, torch.arange(1000))
    assert 0 < largest <= 750


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ([3, 900], "start holds 900: with 900 training samples indices go from 0 to 899"),
        ([-1, 3], "start holds -1"),
        (np.array([0.5, 3.0]), "dtype float64.*list of integers"),
        (torch.ones(900, dtype=torch.bool), "dtype bool.*list of integers"),
        (np.array([[1, 2], [3, 4]]), r"shape \(2, 2\)"),
        (torch.tensor(3), r"shape \(\)"),
        (np.array(["support"]), "start must be a list of indices"),
    ],
)
def test_wrong_starts_are_reported(start, words):
    K, y = problem()
    with pytest.raises(UserError, match=words):
        HardMarginSVM().fit(K, y, start=start)


@pytest.mark.parametrize("backend", ["jst", "libsvm"])
def test_other_backends_ignore_the_start(backend):
    K, y = problem(60, 80)
    one = HardMarginSVM(backend).fit(K, y)
    other = HardMarginSVM(backend).fit(K, y, start=[1, 2, 3])
    assert torch.equal(one.dual_coef_, other.dual_coef_)
    with pytest.raises(UserError, match="start holds 60"):
        HardMarginSVM(backend).fit(K, y, start=[60])
