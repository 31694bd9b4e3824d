"""Kernels and labels for the SVM tests, and independent oracles."""

import math

import daqp
import numpy as np
import torch
from scipy.optimize import linprog


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_labels(n, seed=0):
    y = (normal(n, seed=seed + 1000) > 0).long()
    y[0], y[1] = 0, 1
    return y


def linear_labels(X, seed=0, offset=0.0):
    y = (X @ normal(X.shape[1], seed=seed + 2000) > offset).long()
    assert 0 < int(y.sum()) < len(y)
    return y


def oracle_margin(F, y, intercept=False):
    """The largest margin of the rows of F, by the dual active-set solver daqp on the primal in w (and b)."""
    margin, trusted = oracle_plane(F, y, intercept)
    assert trusted
    return margin


def oracle_plane(F, y, intercept=False):
    """The margin of daqp's plane, and whether daqp kept to its constraints closely enough for it to be the largest."""
    Z = (2 * y.double() - 1)[:, None] * torch.cat([F, torch.ones(len(F), int(intercept), dtype=torch.float64)], 1)
    H = np.eye(Z.shape[1])
    if intercept:
        H[-1, -1] = 1e-9  # daqp needs a positive definite H
    ones, zeros = np.ones(len(F)), np.zeros(Z.shape[1])
    w, _, status, _ = daqp.solve(H, zeros, Z.numpy().copy(), 1e30 * ones, ones, np.zeros(len(F), dtype=np.int32))
    least = (Z.numpy() @ w).min()
    return least / math.sqrt(w[: F.shape[1]] @ w[: F.shape[1]]), status == 1 and abs(least - 1) < 1e-9


def oracle_separable(F, y, intercept=False):
    """Whether some w (and b) has y_i (w.F_i + b) >= 1 for all i, by linear programming."""
    Z = (2 * y.double() - 1)[:, None] * torch.cat([F, torch.ones(len(F), int(intercept), dtype=torch.float64)], 1)
    # the least t with Zw >= 1 - t is 0 where some w separates, else 1: a programme that always has a solution
    A = np.hstack([-Z.numpy(), -np.ones((len(F), 1))])
    cost = np.zeros(A.shape[1])
    cost[-1] = 1
    found = linprog(cost, A_ub=A, b_ub=-np.ones(len(F)), bounds=[(None, None)] * Z.shape[1] + [(0, None)])
    assert found.status == 0
    return found.fun < 0.5


def nearest_combination(K, y, intercept=False):
    """(t, a): the least t with |sum_j s_j K_ij a_j| <= t d_i sum_j d_j a_j for an a >= 0, K_ii = d_i^2, by HiGHS.

    Then no v has s_i sum_j K_ij v_j > t d_i sum_j d_j |v_j| at all i, by weak duality. t is computed from `a`.
    """
    K, s = K.double().numpy(), 2.0 * y.numpy() - 1
    d, n, unit = np.sqrt(np.diag(K)), len(s), 1e-7
    M = K * s / np.outer(d, d)
    sums = np.vstack([np.r_[np.ones(n), 0], np.r_[s / d, 0]])[: 1 + intercept]
    A = np.vstack([np.c_[M, np.full(n, -unit)], np.c_[-M, np.full(n, -unit)]])
    cost, target = np.r_[np.zeros(n), 1], np.eye(1 + intercept)[0]
    found = linprog(cost, A_ub=A, b_ub=np.zeros(2 * n), A_eq=sums, b_eq=target, method="highs-ipm")
    assert found.status == 0
    a = found.x[:n].clip(0) / d
    if intercept:
        a[s > 0] /= a[s > 0].sum()
        a[s < 0] /= a[s < 0].sum()
    a /= d @ a
    return float((np.abs(K @ (s * a)) / d).max()), torch.from_numpy(a)
