"""A factor of a Gram matrix, for solvers that take features and no kernel."""

from __future__ import annotations

import numpy as np


def gram_factor(K: np.ndarray, precision: float) -> np.ndarray:
    """F (n, r) with F F' = K, for K (n, n) float64 with unit largest diagonal.

    Cholesky with complete pivoting (LAPACK's dpstrf), up to where the remaining diagonal is below `precision`; where
    the result is further from K than that explains (K has negative eigenvalues), the eigenvectors of the positive ones.
    Memory in addition to K: two more of its size at most, four with the eigenvectors.
    """
    from scipy.linalg import eigh
    from scipy.linalg.lapack import dpstrf

    n = len(K)
    packed, pivots, rank, _ = dpstrf(K, lower=1, tol=precision)
    pivots = pivots - 1
    factor = np.zeros((n, rank))
    factor[pivots] = np.tril(packed)[:, :rank]
    del packed
    probe = np.random.default_rng(0).standard_normal((n, 4))
    error = np.abs(factor @ (factor.T @ probe) - K @ probe).max()
    if error <= 100 * n**0.5 * precision:
        return factor
    values, vectors = eigh(K)
    positive = values > precision
    return np.ascontiguousarray(vectors[:, positive] * np.sqrt(values[positive]))
