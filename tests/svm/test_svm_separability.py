"""Separable, not separable or undetermined: against linear programming in rational numbers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rational import exact_separable, low_rank_problem, vanishes
from svm_problems import normal, random_labels

from afterkernel.svm import HardMarginSVM, separability
from afterkernel.svm.boundary import is_inside, nearest_point
from afterkernel.svm.separability import decide_separability
from afterkernel.svm.signed_gram import PRECISION


def gram(F):
    F = torch.as_tensor(F)
    K = F @ F.T
    return (K + K.T) / 2


EXAMPLE = [
    [1.666721, 0.143262, 0.013222, 0],
    [4.948734, 0, 0, 0.01114],
    [2.676633, 0.048175, 0.017198, 0.006178],
    [3.698603, 0.154591, 0.016736, 0.00132],
    [0, 0.016686, 0.016751, 0],
    [3.263421, 0.119364, 0.011742, 0.0044],
    [4.326476, 0.047612, 0.007266, 0.003721],
    [0.381124, 0.040212, 0.000732, 0.000335],
]


def test_an_interior_point_whose_gap_grows_still_finds_the_witness():
    K, y = gram(torch.tensor(EXAMPLE, dtype=torch.float64)), torch.tensor([0, 0, 1, 1, 0, 1, 1, 1])
    machine = HardMarginSVM().fit(K, y)
    assert machine.separable_ is False
    assert math.isnan(machine.margin_)
    assert machine.converged_
    # the soft margin's decisions, for one C: those of the hard margin of K + max_i K_ii / C I
    ridged = HardMarginSVM().fit(K + float(K.diagonal().max()) / 1e3 * torch.eye(8), y)
    assert machine.train_error_ == float(((ridged.decision_function(K) > 0).long() != y).double().mean())


@settings(deadline=None, max_examples=25)
@given(st.integers(1000, 100_000), st.booleans(), st.integers(0, 3))
def test_classification_is_that_of_the_exact_linear_programme(seed, intercept, powers):
    F, y = low_rank_problem(seed, powers)
    truth, _ = exact_separable(F, 2 * y - 1, intercept)
    K, signs = gram(F), 2 * y - 1
    machine = HardMarginSVM(intercept=intercept).fit(K, torch.from_numpy(y))
    assert machine.converged_
    if machine.separable_ is None:
        witness = decide_separability(K, 1.0 * torch.from_numpy(signs), intercept).witness
        assert vanishes(K.tolist(), signs, witness.tolist(), 10 * PRECISION[torch.float64], intercept)
        assert math.isnan(machine.margin_)
        return
    assert machine.separable_ is truth
    if truth:
        assert machine.margin_ > 0
        assert machine.gap_ <= 1e-10
        assert machine.train_error_ == 0
    else:
        assert math.isnan(machine.margin_)
        assert math.isnan(machine.gap_)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 100_000), st.booleans(), st.integers(0, 3), st.randoms(use_true_random=False))
def test_classification_does_not_depend_on_order_names_or_lengths(seed, intercept, powers, random):
    F, y = low_rank_problem(seed, powers)
    K, y = gram(F), torch.from_numpy(y)

    def classified(K, y):
        return HardMarginSVM(intercept=intercept).fit(K, y).separable_

    verdict = classified(K, y)
    assert classified(K, 1 - y) is verdict
    order = list(range(len(y)))
    random.shuffle(order)
    assert classified(K[order][:, order], y[order]) is verdict
    assert classified(K * 2.0**40, y) is verdict
    if not intercept:
        lengths = 2.0 ** torch.tensor([random.randint(-10, 10) for _ in order], dtype=torch.float64)
        assert classified(K * torch.outer(lengths, lengths), y) is verdict


@pytest.mark.parametrize("seed", range(20))
def test_features_near_the_precision_of_k(seed):
    # columns down to 1e-6: their share of K is 1e-12, and decides
    F, y = low_rank_problem(seed, 6)
    truth, _ = exact_separable(F, 2 * y - 1)
    assert decide_separability(gram(F), 2.0 * torch.from_numpy(y) - 1).separable in (truth, None)


@pytest.mark.parametrize(
    ("seed", "powers", "intercept"),
    # one sample a multiple of another of the other class but for rounding in F; a feature lost to the coarser factor
    [(5282, 3, False), (5282, 5, False), (20231, 5, True), (5008, 8, False), (5169, 8, True)],
)
def test_what_errors_of_k_may_undo_is_left_open(seed, powers, intercept):
    F, y = low_rank_problem(seed, powers)
    truth, _ = exact_separable(F, 2 * y - 1, intercept)
    assert truth
    found = decide_separability(gram(F), 2.0 * torch.from_numpy(y) - 1, intercept)
    assert found.separable is None
    assert vanishes(gram(F).tolist(), 2 * y - 1, found.witness.tolist(), 10 * PRECISION[torch.float64], intercept)


@pytest.mark.parametrize(
    ("seed", "powers", "intercept"), [(5038, 3, True), (20432, 3, False), (20444, 3, True), (20061, 5, True)]
)
def test_rounding_that_looks_like_a_feature_leaves_nothing_open(seed, powers, intercept):
    F, y = low_rank_problem(seed, powers)
    assert not exact_separable(F, 2 * y - 1, intercept)[0]
    assert decide_separability(gram(F), 2.0 * torch.from_numpy(y) - 1, intercept).separable is False


@pytest.mark.parametrize("intercept", [False, True])
def test_a_combination_that_is_zero_in_fractions_is_no_rounding(intercept):
    # samples on the boundary contradict each other; the others are separable from them
    rows = [[1, 2, 0], [3, 6, 0], [1, 0, 5], [0, 1, 7]]
    y = [1, 0, 1, 1]
    if intercept:
        rows, y = [[0, 0, 0], [3, 3, 0], [1, 2, 0], [2, 1, 0], [0, 1, 5]], [1, 1, 0, 0, 1]
    F, y = torch.tensor(rows, dtype=torch.float64), torch.tensor(y)
    assert not exact_separable(F.numpy(), 2 * y.numpy() - 1, intercept)[0]
    assert decide_separability(gram(F), 2.0 * y - 1, intercept).separable is False
    # the same in coordinates that are rounded
    turned = F @ torch.linalg.qr(normal(3, 3))[0]
    truth, _ = exact_separable(turned.numpy(), 2 * y.numpy() - 1, intercept)
    assert decide_separability(gram(turned), 2.0 * y - 1, intercept).separable in (truth, None)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 100_000), st.integers(2, 6), st.booleans())
def test_inside_means_that_small_errors_change_nothing(seed, r, flat):
    Z = torch.nn.functional.normalize(normal(6 * r, r, seed=seed))
    if flat:
        # 0 between the first two, all others on one side
        Z[:, 0] = Z[:, 0].abs()
        Z[:2, 0] = 0.0
        Z[1] = -Z[0]
        Z = torch.nn.functional.normalize(Z)
    x = nearest_point(Z)
    if float((x @ Z).norm()) > 1e-12 * float(x.sum()):
        return
    inside = is_inside(Z, x, 1e-15)
    assert inside is not flat
    if inside:
        for error in range(20):
            moved = Z + 1e-12 * normal(6 * r, r, seed=seed + error)
            again = nearest_point(moved)
            assert float((again @ moved).norm()) <= 1e-12 * float(again.sum())


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize(("seed", "powers"), [(8, 8), (76, 8), (139, 8), (50, 7), (51, 7), (52, 7)])
def test_faint_features_leave_it_open(seed, powers, intercept):
    # columns down to 1e-8: their share of K is 1e-16, about one rounding
    F, y = low_rank_problem(seed, powers)
    truth, _ = exact_separable(F, 2 * y - 1, intercept)
    assert decide_separability(gram(F), 2.0 * torch.from_numpy(y) - 1, intercept).separable in (truth, None)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_spectrum_that_fades_into_rounding_leaves_clear_cases_decided(dtype):
    F = (normal(600, 60) * torch.logspace(0, -9, 60, dtype=torch.float64)).to(dtype)
    assert decide_separability(gram(F), 2.0 * random_labels(600) - 1).separable is False


@pytest.mark.parametrize("intercept", [False, True])
def test_what_float64_cannot_hold_is_never_called_a_margin(intercept):
    # two samples of each class whose classes differ by 1e-9 in a direction of its own: 1e-18 in K
    F = torch.tensor([[1.0, 1e-9], [1.0, -1e-9], [2.0, 2e-9], [2.0, -2e-9]], dtype=torch.float64)
    machine = HardMarginSVM(intercept=intercept).fit(gram(F), torch.tensor([1, 0, 1, 0]))
    assert machine.separable_ is not True
    assert math.isnan(machine.margin_)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_witness_is_a_convex_combination_that_vanishes(intercept, dtype):
    X = normal(60, 5)
    K, y = gram(X).to(dtype), 2 * random_labels(60).double() - 1
    found = decide_separability(K, y, intercept)
    assert found.separable is False
    a = found.witness
    assert float(a.min()) >= 0
    seen = (K.double() @ (a * y)).abs() / K.diagonal().double().sqrt()
    assert float(seen.max()) <= 10 * PRECISION[dtype] * float(a @ K.diagonal().double().sqrt())
    if intercept:
        assert float(a @ y) == pytest.approx(0, abs=1e-12 * float(a.sum()))


def test_a_zero_sample_has_no_margin_without_an_intercept():
    F = torch.eye(4, dtype=torch.float64)
    F[0] = 0
    y = torch.tensor([1, 0, 1, 0])
    assert HardMarginSVM().fit(F, y).separable_ is False
    assert HardMarginSVM(intercept=True).fit(F, y).separable_ is True


def test_tiny_samples_are_evaluated_in_their_own_scale():
    # two samples of length 1e-7 at right angles: separable, though their squared margin is 1e-14 of the diagonal
    F = torch.diag(torch.tensor([1.0, 1.0, 1e-7, 1e-7], dtype=torch.float64))
    machine = HardMarginSVM().fit(gram(F), torch.tensor([1, 0, 1, 0]))
    assert machine.separable_ is True
    assert machine.margin_ == pytest.approx(1e-7 / math.sqrt(2), rel=1e-6)


@pytest.mark.parametrize(
    ("backend", "options"), [("jst", {"max_steps": 5}), ("libsvm", {"max_iter": 3}), ("liblinear", {})]
)
def test_other_backends_get_the_same_verdict(backend, options):
    for seed in (9, 37, 40, 41):
        F, y = low_rank_problem(seed)
        machine = HardMarginSVM(backend, **options).fit(gram(F), torch.from_numpy(y))
        truth, _ = exact_separable(F, 2 * y - 1, backend == "libsvm")
        assert machine.separable_ is truth
        assert math.isnan(machine.margin_) or (truth and machine.margin_ > 0)
        assert not machine.margin_ < 0
        if not truth:
            assert not machine.converged_


def test_a_start_decides_nothing():
    for seed in (9, 37, 55, 115):
        F, y = low_rank_problem(seed)
        cold = HardMarginSVM().fit(gram(F), torch.from_numpy(y))
        warm = HardMarginSVM().fit(gram(F), torch.from_numpy(y), start=[0, 1, 2])
        auto = HardMarginSVM("auto").fit(gram(F), torch.from_numpy(y))
        assert cold.separable_ is warm.separable_ is auto.separable_ is exact_separable(F, 2 * y - 1)[0]
        assert cold.train_error_ == warm.train_error_ == auto.train_error_


def test_too_large_a_rank_leaves_it_to_the_working_sets(monkeypatch):
    monkeypatch.setattr(separability, "LARGEST", 100.0)
    X = normal(60, 5)
    machine = HardMarginSVM().fit(gram(X), random_labels(60))
    assert machine.separable_ is False
    assert "too large" in machine.path_
