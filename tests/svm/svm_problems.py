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
    found = linprog(np.zeros(Z.shape[1]), A_ub=-Z.numpy(), b_ub=-np.ones(len(F)), bounds=(None, None))
    assert found.status in (0, 2)
    return found.status == 0
