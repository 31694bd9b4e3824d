"""Soft margins by a low-rank factor are those of the general method, to rounding; and how many threads solvers use."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from svm_problems import normal, random_labels

from afterkernel.svm import HardMarginSVM, exact
from afterkernel.svm.active_set import achieved
from afterkernel.svm.low_rank import low_rank_factor, newton
from afterkernel.svm.search import Search
from afterkernel.svm.signed_gram import SignedGram
from afterkernel.svm.threads import LARGE, one_thread, threads_for

RIDGE = 1e-3


class WithoutFactor(Search):
    """Active sets alone."""

    def _low_rank(self):
        return None


def soft(K, y, intercept=False, ridge=RIDGE):
    return SignedGram(K, 2.0 * y - 1, ridge=ridge, intercept=intercept)


@settings(deadline=None, max_examples=8)
@given(
    n=st.integers(500, 600),
    rank=st.integers(1, 60),
    seed=st.integers(0, 10_000),
    intercept=st.booleans(),
    single=st.booleans(),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_the_soft_margin_is_that_of_the_active_set(n, rank, seed, intercept, single, scale):
    X = scale * normal(n, rank, seed=seed) / rank**0.5
    K, y = X @ X.T, random_labels(n, seed)
    given = K.clone()
    if single:
        K = K.float()
    gram = soft(K, y, intercept)
    factor = low_rank_factor(gram)
    assert factor is not None
    assert factor.shape[1] <= rank + 2 * single
    found, _ = newton(gram, factor)
    assert found is not None
    ordinary = WithoutFactor(gram, 30).run()
    dense = [torch.zeros(n, dtype=torch.float64).index_put((each.support,), each.a) for each in (found, ordinary)]
    torch.testing.assert_close(dense[0], dense[1], rtol=1e-6, atol=1e-6 * float(dense[1].max()))
    # the conditions of the optimum, with K itself
    f = achieved(gram, found)
    assert float((f[found.support] - 1).abs().max()) < 1e-9
    assert float(f.min()) > 1 - 1e-9
    assert float(found.a.min()) > 0
    assert torch.equal(K, given.to(K.dtype))  # only read
    assert not intercept or abs(float((gram.y[found.support] * found.a).sum())) < 1e-9 * float(found.a.sum())


def test_the_factor_reproduces_the_kernel_within_its_bound():
    X = normal(600, 40) * torch.logspace(0, -6, 40, dtype=torch.float64)
    y = random_labels(600)
    gram = soft(X @ X.T, y)
    factor = low_rank_factor(gram)
    assert factor is not None
    Q = gram.rectangle(torch.arange(600), torch.arange(600))
    assert float((Q - factor @ factor.T).abs().max()) <= RIDGE / 600
    assert factor.shape[1] < 40


def test_a_kernel_of_full_rank_has_no_factor_and_is_solved_as_before():
    X = normal(600, 600)
    y = random_labels(600)
    assert low_rank_factor(soft(X @ X.T, y)) is None
    X[1] = X[0]  # labelled differently: not separable
    machine = HardMarginSVM().fit(X @ X.T, y)
    assert machine.separable_ is False
    assert "nested subsets" in machine.path_.partition("soft margin")[2] or "given start" in machine.path_


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_takes_it_where_data_are_not_separable(monkeypatch, intercept, dtype):
    X = normal(700, 20)
    K, y = (X @ X.T).to(dtype), random_labels(700)
    quick = HardMarginSVM(intercept=intercept).fit(K, y)
    assert "Newton steps at rank 2" in quick.path_
    monkeypatch.setattr(exact, "Search", WithoutFactor)
    ordinary = HardMarginSVM(intercept=intercept).fit(K, y)
    assert "Newton" not in ordinary.path_
    assert quick.separable_ is ordinary.separable_ is False
    assert quick.converged_ is ordinary.converged_ is True
    assert quick.soft_certificate_.gap <= 1e-8
    assert quick.soft_certificate_.margin == pytest.approx(ordinary.soft_certificate_.margin, rel=1e-8)
    torch.testing.assert_close(
        quick.dual_coef_, ordinary.dual_coef_, rtol=1e-5, atol=1e-5 * float(quick.dual_coef_.max())
    )


def test_a_fit_runs_on_one_thread_and_restores_their_number(monkeypatch):
    before = torch.get_num_threads()
    seen = []
    solve = exact.Exact.solve

    def watched(self, K, y, start=None):
        seen.append(torch.get_num_threads())
        return solve(self, K, y, start)

    monkeypatch.setattr(exact.Exact, "solve", watched)
    torch.set_num_threads(3)
    try:
        X = normal(30, 60)
        HardMarginSVM().fit(X @ X.T, random_labels(30))
        assert seen == [1]
        assert torch.get_num_threads() == 3
        with one_thread():
            with threads_for(LARGE - 1):
                assert torch.get_num_threads() == 1
            with threads_for(LARGE):
                assert torch.get_num_threads() == 3
            with one_thread(), threads_for(LARGE):
                assert torch.get_num_threads() == 3
            assert torch.get_num_threads() == 1
        with pytest.raises(ValueError, match="mistake"), one_thread():
            raise ValueError("mistake")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
