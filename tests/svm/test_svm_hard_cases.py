"""Kernels and labels that are hard for SVM solvers, each with a gap of 1e-10 or a proof."""

import math
from itertools import product

import pytest
import torch
from svm_problems import nearest_combination, normal, oracle_plane, oracle_separable, random_labels

from afterkernel.svm import HardMarginSVM
from afterkernel.svm.signed_gram import PRECISION

SMALL = 150


def spectrum(n, condition, seed=0):
    """A factor of a kernel of full rank whose eigenvalues fall from 1 to 1 / condition."""
    U = torch.linalg.qr(normal(n, n, seed=seed))[0]
    return U * torch.logspace(0, -math.log10(condition), n, dtype=torch.float64).sqrt()


def smooth_labels(F, share=0.5, seed=0):
    score = F[:, : max(2, F.shape[1] // 20)] @ normal(max(2, F.shape[1] // 20), seed=seed + 7)
    return (score > score.quantile(1 - share)).long()


def apart(F, intercept):
    """Labels by the first column, and F with that column moved off the plane that they lie on both sides of."""
    offset = 0.5 if intercept else 0.0
    F = F.clone()
    F[:, 0] += 0.05 * (F[:, 0] - offset).sign()
    return F, (F[:, 0] > offset).long()


def flip(y, share, seed=0):
    picked = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))[: int(share * len(y))]
    y = y.clone()
    y[picked] = 1 - y[picked]
    return y


def factor_of(K):
    values, vectors = torch.linalg.eigh(K)
    return vectors * values.clamp_min(0).sqrt()


def laplace(n, width, seed=0):
    X = normal(n, 10, seed=seed)
    return factor_of(torch.exp(-torch.cdist(X, X) / width)), X


def conditioned(n, condition, labels, intercept):
    F = spectrum(n, condition)
    return F, random_labels(n) if labels == "random" else smooth_labels(F)


def half_rank(n, seed, intercept):
    return normal(n, n // 2, seed=seed), random_labels(n, seed)


def low_rank(n, rank, intercept):
    return apart(normal(n, rank), intercept)


def copies(rank, times, intercept):
    F, y = normal(100, rank), random_labels(100)
    if rank < 100:
        F, y = apart(F, intercept)
    return F.repeat(times, 1), y.repeat(times)


def contradictory(rank, pairs, intercept):
    F, y = normal(150, rank), random_labels(150)
    return torch.cat([F, F[:pairs]]), torch.cat([y, 1 - y[:pairs]])


def flipped(n, width, intercept):
    F, X = laplace(n, width)
    return F, flip((X[:, 0] > 0).long(), 0.1)


def scales(n, rank, intercept):
    # |phi| from 1e-3 to 1, so that the smallest rule the margin
    F, y = apart(normal(n, rank), False)
    F = F * torch.logspace(-3, 0, n, dtype=torch.float64)[:, None]
    return F, y


def offset_kernel(n, size, intercept):
    # a common component that is far longer than the differences between the samples
    return torch.cat([normal(n, 2 * n), size * torch.ones(n, 1, dtype=torch.float64)], 1), random_labels(n)


def near_copies(n, distance, intercept):
    F = normal(n // 2, 2 * n)
    return torch.cat([F, F + distance * normal(n // 2, 2 * n, seed=5)]), random_labels(n)


def grid(intercept):
    x, z = torch.meshgrid(torch.arange(-5.0, 6), torch.arange(-15.0, 15), indexing="ij")
    F = torch.stack([x.ravel(), z.ravel()], 1).double()
    F = F[F[:, 0] != 0]
    y = (F[:, 0] > 0).long()
    F[:, 0] += 0.3 if intercept else 0
    return F, y


def rare(n, intercept):
    y = torch.zeros(n, dtype=torch.long)
    y[n - 1] = 1
    return normal(n, 2 * n), y


def simplex(n, intercept):
    # every sample a support vector with the same weight
    return torch.eye(n, dtype=torch.float64), (torch.arange(n) % 3 == 0).long()


CASES = [
    *product([conditioned], product([100, 400], [1e6, 1e9, 1e12], ["random", "smooth"])),
    *product([half_rank], product([60, 140, 400], [0, 1])),
    *product([low_rank], [(150, 2), (400, 5), (400, 40)]),
    *product([copies], [(300, 3), (40, 3), (5, 4), (101, 2)]),
    *product([contradictory], [(400, 1), (400, 150), (40, 3), (5, 150)]),
    *product([flipped], [(140, 3.0), (400, 3.0), (400, 100.0)]),
    *product([scales], [(140, 400), (400, 20)]),
    *product([offset_kernel], [(140, 1e2), (140, 1e4)]),
    *product([near_copies], [(140, 1e-2), (140, 1e-4), (400, 1e-4)]),
    (grid, ()),
    *product([rare], [(140,), (400,)]),
    (simplex, (130,)),
]


def assert_undetermined(K, y, intercept):
    """A kernel within the precision of float32 is not separable, though K as stored may be."""
    eps = PRECISION[torch.float32]
    t, a = nearest_combination(K, y, intercept)
    assert t <= eps
    d, s = K.diagonal().sqrt(), 2.0 * y - 1
    u = s * a / d.dot(a)
    # (I - sd u') K (I - u sd'): positive semi-definite, and the combination u vanishes in it
    P = torch.eye(len(y), dtype=torch.float64) - torch.outer(s * d, u)
    near = P @ K @ P.T
    assert float(((near - K).abs() / torch.outer(d, d)).max()) <= 3 * eps
    assert float((near @ u).abs().max()) <= 1e-14 * float(d.max())
    if intercept:
        assert abs(float(u.sum())) <= 1e-12 * float(u.abs().sum())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("intercept", [False, True], ids=["origin", "intercept"])
@pytest.mark.parametrize(
    ("build", "arguments"), CASES, ids=[f"{build.__name__}-{'-'.join(map(str, a))}" for build, a in CASES]
)
def test_hard_case(build, arguments, intercept, dtype):
    F, y = build(*arguments, intercept)
    K = F @ F.T
    K = ((K + K.T) / 2).to(dtype)
    machine = HardMarginSVM(intercept=intercept).fit(K, y)
    if build is contradictory:
        assert machine.separable_ is False
    if machine.separable_ is False:
        precision = 1e-14 if dtype == torch.float64 else 5e-7
        assert machine.certificate_.upper**2 <= 10 * precision * float(K.diagonal().max())
        assert math.isnan(machine.margin_)
        assert machine.soft_certificate_.gap <= 1e-8
        if dtype == torch.float64:
            assert not oracle_separable(F, y, intercept)
        return
    if machine.separable_ is None:
        assert dtype == torch.float32
        assert_undetermined(K.double(), y, intercept)
        assert math.isnan(machine.margin_)
        assert machine.soft_certificate_.gap <= 1e-8
        return
    assert machine.gap_ <= 1e-10
    assert machine.converged_
    assert machine.certificate_.kkt_violation <= 1e-8
    assert machine.separable_ is True
    assert machine.train_error_ == 0
    if len(y) <= SMALL and dtype == torch.float64:
        oracle, trusted = oracle_plane(F, y, intercept)
        assert machine.margin_ >= oracle * (1 - 1e-8)
        if trusted:
            assert machine.margin_ == pytest.approx(oracle, rel=1e-8)
