import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from svm_problems import linear_labels, normal, oracle_margin, oracle_separable, random_labels

from afterkernel.svm import HardMarginSVM, certify
from afterkernel.svm.active_set import Solver, SparseDual, primal_dual
from afterkernel.svm.interior_point import interior_point
from afterkernel.svm.polish import polish
from afterkernel.svm.search import stratified_order
from afterkernel.svm.signed_gram import SignedGram


def fitted(K, y, **options):
    return HardMarginSVM(**options).fit(K, y)


def assert_solved(machine, gap=1e-10):
    assert machine.separable_ is True
    assert machine.converged_ is True
    assert 0 <= machine.gap_ <= gap
    assert machine.train_error_ == 0
    assert machine.soft_certificate_ is None


def assert_not_separable(machine, K, y):
    assert machine.separable_ is False
    assert math.isnan(machine.margin_)
    assert math.isnan(machine.gap_)
    assert machine.converged_ is True
    assert machine.soft_certificate_.gap <= 1e-8
    assert "not separable" in machine.path_
    # the proof is in the certificate: a convex combination of the y_i phi_i of vanishing norm
    assert machine.certificate_.upper**2 <= 10 * (1e-14 if K.dtype == torch.float64 else 5e-7) * K.diagonal().max()
    assert machine.train_error_ == pytest.approx(float((machine.predict(K) != y).double().mean()))


@settings(deadline=None, max_examples=40)
@given(st.integers(4, 200), st.floats(0.05, 2), st.integers(0, 10_000), st.booleans())
def test_margin_equals_daqp(n, width, seed, linear):
    X = normal(n, max(2, int(width * n)), seed=seed)
    y = random_labels(n, seed)
    if linear:
        X[:, 0] += 0.5 * (2 * y - 1)
    machine = fitted(X @ X.T, y)
    assert machine.separable_ == oracle_separable(X, y)
    if machine.separable_:
        # the certificate's own rounding grows as the margin shrinks
        relative = machine.margin_**2 / float((X @ X.T).diagonal().max())
        assert machine.gap_ <= max(1e-10, 1e-16 / relative**1.25)
        assert machine.margin_ == pytest.approx(oracle_margin(X, y), rel=max(1e-9, 1e-14 / relative))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("n", [60, 700])
def test_full_rank_random_labels(n, dtype):
    X = normal(n, 2 * n)
    assert_solved(fitted((X @ X.T).to(dtype), random_labels(n)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_duplicates(dtype):
    X = normal(150, 400)
    y = random_labels(150)
    once = fitted((X @ X.T).to(dtype), y)
    X, y = torch.cat([X, X, X]), torch.cat([y, y, y])
    twice = fitted((X @ X.T).to(dtype), y)
    assert_solved(twice)
    assert twice.margin_ == pytest.approx(once.margin_, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_contradictory_duplicates(dtype):
    X = normal(200, 500)
    X = torch.cat([X, X])
    y = torch.cat([random_labels(200), random_labels(200)])
    y[0] = 1 - y[200]
    K = (X @ X.T).to(dtype)
    machine = fitted(K, y)
    assert_not_separable(machine, K, y)
    assert 0 < machine.train_error_ < 0.02


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("rank", [3, 20, 80])
@pytest.mark.parametrize("n", [200, 900])
def test_rank_far_below_n(n, rank, dtype):
    X = normal(n, rank)
    X[:, 0] = X[:, 0].sign() * (X[:, 0].abs() + 0.1)
    y = (X[:, 0] > 0).long()
    separable = fitted((X @ X.T).to(dtype), y)
    assert_solved(separable)
    assert separable.margin_ == pytest.approx(oracle_margin(X, y), rel=1e-9 if dtype == torch.float64 else 1e-3)
    y = random_labels(n)
    if n > 3 * rank:
        K = (X @ X.T).to(dtype)
        assert_not_separable(fitted(K, y), K, y)


def test_condition_of_1e12():
    n = 400
    U = torch.linalg.qr(normal(n, n))[0]
    K = (U * torch.logspace(0, -12, n, dtype=torch.float64)) @ U.T
    K = (K + K.T) / 2
    assert_solved(fitted(K, (U[:, :20] @ normal(20) > 0).long()))
    # the squared margin is 1e-10 of the diagonal: float64 can't hold a dual exact enough, and `rest` is what it lacks
    machine = fitted(K, random_labels(n))
    assert_solved(machine, 1e-12)
    a = (2 * random_labels(n) - 1) * machine.dual_coef_
    assert certify(K, 2 * random_labels(n).double() - 1, a).gap > 1e-10


def test_many_samples_on_the_margin():
    # a grid: 40 samples share the smallest |x|, so that the dual is far from unique
    x, z = torch.meshgrid(torch.arange(-5.0, 6), torch.arange(-20.0, 20), indexing="ij")
    X = torch.stack([x.ravel(), z.ravel()], 1).double()
    X = X[X[:, 0] != 0]
    machine = fitted(X @ X.T, (X[:, 0] > 0).long())
    assert_solved(machine)
    assert machine.margin_ == pytest.approx(1, rel=1e-10)


def test_sample_at_the_origin_is_not_separable():
    X = normal(50, 100)
    X[7] = 0
    y = random_labels(50)
    K = X @ X.T
    assert_not_separable(fitted(K, y), K, y)


def test_two_samples():
    machine = fitted(torch.tensor([[4.0, 0.0], [0.0, 1.0]], dtype=torch.float64), torch.tensor([1, 0]))
    assert machine.margin_ == pytest.approx(2 / math.sqrt(5), rel=1e-14)
    assert machine.dual_coef_.tolist() == pytest.approx([0.25, -1.0])


def test_one_class_much_rarer():
    X = normal(600, 900)
    y = torch.zeros(600, dtype=torch.long)
    y[17] = 1
    machine = fitted(X @ X.T, y)
    assert_solved(machine)
    assert machine.margin_ == pytest.approx(oracle_margin(torch.linalg.cholesky(X @ X.T), y), rel=1e-9)


@pytest.mark.parametrize("rank", [30, 800])
def test_order_of_samples_does_not_matter(rank):
    X = normal(400, rank)
    y = linear_labels(X)
    K = X @ X.T
    order = torch.randperm(400)
    one, other = fitted(K, y), fitted(K[order][:, order], y[order])
    assert other.margin_ == pytest.approx(one.margin_, rel=1e-10)
    assert torch.allclose(other.decision_function(K[:, order]), one.decision_function(K), rtol=0, atol=1e-8)


@pytest.mark.parametrize("scale", [1e-8, 3.0, 1e9])
def test_margin_scales_with_the_root_of_the_kernel(scale):
    X = normal(300, 40)
    y = linear_labels(X)
    one, other = fitted(X @ X.T, y), fitted(scale * (X @ X.T), y)
    assert other.margin_ == pytest.approx(math.sqrt(scale) * one.margin_, rel=1e-10)
    assert other.certificate_.kkt_violation == pytest.approx(one.certificate_.kkt_violation, abs=1e-10)
    assert (other.separable_, other.n_support_) == (one.separable_, one.n_support_)


def test_swapping_the_classes_changes_signs_alone():
    X = normal(100, 150)
    y = random_labels(100)
    one, other = fitted(X @ X.T, y), fitted(X @ X.T, 1 - y)
    assert torch.allclose(one.dual_coef_, -other.dual_coef_, rtol=1e-9, atol=1e-12)


def test_float32_kernel_is_as_exact_as_its_entries():
    X = normal(500, 700)
    y = random_labels(500)
    double, single = fitted(X @ X.T, y), fitted((X @ X.T).float(), y)
    assert_solved(single, 1e-12)
    assert single.margin_ == pytest.approx(double.margin_, rel=1e-6)
    assert set(single.support_.tolist()) == set(double.support_.tolist())
    assert single.certificate_.uncertainty > 1e6 * double.certificate_.uncertainty


def test_soft_answer_is_the_hard_one_of_the_kernel_with_a_ridge():
    X = normal(300, 10)
    y = random_labels(300)
    K = X @ X.T
    soft = fitted(K, y, soft_C=50.0)
    hard = fitted(K + K.diagonal().max() / 50 * torch.eye(300, dtype=torch.float64), y)
    assert torch.allclose(soft.dual_coef_, hard.dual_coef_, rtol=1e-8, atol=1e-10)
    assert soft.soft_certificate_.margin == pytest.approx(hard.margin_, rel=1e-10)


def test_a_solver_that_may_not_step_is_reported_as_not_converged(monkeypatch):
    monkeypatch.setattr("afterkernel.svm.search.primal_dual", lambda gram, pool, start, max_steps: (None, 0))
    monkeypatch.setattr(
        "afterkernel.svm.search.interior_point",
        lambda Q, precision, target, signs: (torch.ones(len(Q)).double(), Q[0] * 0 + 1, 0),
    )
    monkeypatch.setattr(
        "afterkernel.svm.search.polish", lambda gram, work, Q, a, max_steps: (SparseDual(work, a + 1), 0)
    )
    X = normal(60, 100)
    machine = fitted(X @ X.T, random_labels(60))
    assert machine.converged_ is False
    assert machine.separable_ is True
    assert math.isnan(machine.margin_)


def problem(n, rank, seed=0, intercept=False):
    X = normal(n, rank, seed=seed)
    return SignedGram(X @ X.T, 2 * linear_labels(X, seed).double() - 1, intercept=intercept)


@pytest.mark.parametrize("intercept", [False, True])
def test_stages_agree(intercept):
    gram = problem(120, 300, intercept=intercept)
    every = torch.arange(120)
    Q = gram.block(every)
    found, _ = primal_dual(gram, None, every, 30)
    a, s, steps = interior_point(Q, gram.precision, signs=gram.y if intercept else None)
    assert steps < 40
    if intercept:
        assert float(gram.y @ a) == pytest.approx(0, abs=1e-12 * float(a.sum()))
    polished, _ = polish(gram, every, Q, torch.where(a > s, a, 0.0), 60)
    from_nothing_known, _ = polish(gram, every, Q, torch.ones(120, dtype=torch.float64), 60)
    for other in (polished, from_nothing_known):
        assert torch.equal(other.support, found.support)
        assert other.a == pytest.approx(found.a.numpy(), rel=1e-9)
        assert other.b == pytest.approx(found.b, abs=1e-10)
    assert float(a.sum()) == pytest.approx(float(found.a.sum()), rel=1e-8)


def test_active_set_reports_when_it_is_stuck():
    gram = problem(400, 6)
    assert primal_dual(gram, None, torch.arange(400), 1)[0] is None


def test_interior_point_finds_the_vanishing_combination():
    X = normal(200, 5)
    y = 2 * random_labels(200).double() - 1
    gram = SignedGram(X @ X.T, y)
    a, _, steps = interior_point(gram.block(torch.arange(200)), gram.precision)
    assert steps < 40
    assert certify(X @ X.T, y, a).separable is False


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("rank", [5, 300])
def test_polish_of_what_cannot_be_separated_ends_in_a_vanishing_combination(rank, intercept):
    # rank 300: two contradictory copies; the direction that vanishes is met by a singular block
    X = normal(150, rank)
    y = 2 * random_labels(150).double() - 1
    X[1], y[1] = X[0], -y[0]
    gram = SignedGram(X @ X.T, y, intercept=intercept)
    every = torch.arange(150)
    found, _ = polish(gram, every, gram.block(every), torch.ones(150, dtype=torch.float64) * 1e-3, 400)
    dual = torch.zeros(150, dtype=torch.float64)
    dual[found.support] = found.a
    assert certify(gram.K, y, dual, intercept).separable is False


def test_equations_of_an_active_set():
    gram = problem(5, 8)
    every = torch.arange(5)
    found = Solver(gram).solve(every)
    assert torch.allclose(gram.block(every) @ found.a, torch.ones(5, dtype=torch.float64))
    # three copies share what one would have
    ones = SignedGram(torch.ones(3, 3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    assert float(Solver(ones).solve(torch.arange(3)).a.sum()) == pytest.approx(1)
    # contradictory copies: no solution
    y = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    assert Solver(SignedGram(ones.K, y)).solve(torch.arange(3)) is None


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_equations_by_the_factor_of_another_active_set(intercept, ridge):
    X = normal(500, 600)
    gram = SignedGram(X @ X.T, 2 * linear_labels(X).double() - 1, ridge, intercept)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(1))
    base = order[:400].sort().values
    for active in (order[:390], order[:410], order[7:], torch.cat([order[20:400], order[420:430]]), order[30:400]):
        active = active.sort().values
        solver = Solver(gram)
        solver.solve(base)
        factors = solver.base
        reused = solver.solve(active)
        assert (solver.base is factors) == (len(active) != 493)  # too many others for the factor to be of use
        expected = Solver(gram).solve(active)
        assert reused.a == pytest.approx(expected.a.numpy(), rel=1e-10)
        assert reused.b == pytest.approx(expected.b, rel=1e-9)


def test_equations_with_an_intercept():
    gram = problem(6, 3, intercept=True)
    active = torch.arange(6)[:4]  # one more than the rank: regular with the border alone
    found = Solver(gram).solve(active)
    signs = gram.y[active]
    achieved = gram.block(active) @ found.a + found.b * signs
    assert torch.allclose(achieved, torch.ones(4, dtype=torch.float64), rtol=0, atol=1e-9)
    assert float(signs @ found.a) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_pieces_of_the_signed_gram(ridge):
    X = normal(300, 40)
    y = 2 * linear_labels(X).double() - 1
    K = X @ X.T
    gram = SignedGram(K, y, ridge)
    Q = y[:, None] * y * K / K.diagonal().max() + ridge * torch.eye(300, dtype=torch.float64)
    index, pool = torch.randperm(300)[:270], torch.randperm(300)[:90]
    a = normal(270)
    assert torch.allclose(gram.block(index), Q[index][:, index], rtol=0, atol=1e-15)
    assert torch.allclose(gram.response(index, a), Q[:, index] @ a, rtol=0, atol=1e-12)
    assert torch.allclose(gram.response(index, a, pool), Q[pool][:, index] @ a, rtol=0, atol=1e-12)


def test_response_of_twice_the_precision():
    # f is the remainder of terms 1e12 times its size
    n = 40
    X = torch.randint(-1000, 1000, (n, n), generator=torch.Generator().manual_seed(0)).double()
    K = X @ X.T
    y = 2 * random_labels(n).double() - 1
    gram = SignedGram(K, y)
    a, low = 1e12 * normal(n), 1e-6 * normal(n, seed=1)
    rows = [[Fraction(int(v)) for v in row] for row in y[:, None] * y * K]
    others = sum(k * Fraction(x) for k, x in zip(rows[0][:-1], a.tolist(), strict=False))
    a[-1] = float(-others / rows[0][-1])
    dual = [Fraction(x) + Fraction(z) for x, z in zip(a.tolist(), low.tolist(), strict=True)]
    exact = [float(sum(k * d for k, d in zip(row, dual, strict=True))) for row in rows]
    every = torch.arange(n)
    assert abs(exact[0]) < 1e-12 * abs(exact[1])
    careful = gram.response(every, a, low=low) * gram.scale
    assert careful.tolist() == pytest.approx(exact, rel=1e-4)
    assert careful[1:].tolist() == pytest.approx(exact[1:], rel=1e-14)
    pooled = gram.response(every, a, torch.tensor([3, 0]), low) * gram.scale
    assert pooled.tolist() == pytest.approx([exact[3], exact[0]], rel=1e-4)


def test_stratified_order():
    y = torch.cat([torch.ones(30), -torch.ones(90)]).double()
    order = stratified_order(y)
    assert sorted(order.tolist()) == list(range(120))
    for part in (20, 40, 80):
        assert abs(int((y[order[:part]] > 0).sum()) - part / 4) <= 1
    assert torch.equal(order, stratified_order(y))
