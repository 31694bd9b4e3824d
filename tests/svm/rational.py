"""An exact oracle for separability: linear programming in rational numbers on the stored floats; and hard problems."""

from fractions import Fraction

import numpy as np


def exact_separable(F, y, intercept=False):
    """(True, w) with Z w > 0, or (False, a) with Z'a = 0, a >= 0, sum a = 1, in fractions; Z_i = y_i (F_i, 1).

    F (n, r) are floats, taken as they are stored; y is in {-1, +1}. The first phase of the simplex method for such an
    a, entering by Bland's rule; both answers are checked before they are given.
    """
    Z = [
        [Fraction(float(x)) * int(s) for x in row] + [Fraction(int(s))] * intercept for row, s in zip(F, y, strict=True)
    ]
    n, r = len(Z), len(Z[0])
    rows = [[z[k] for z in Z] for k in range(r)] + [[Fraction(1)] * n]
    T = [row + [Fraction(int(k == j)) for k in range(r + 1)] + [Fraction(int(j == r))] for j, row in enumerate(rows)]
    basis = list(range(n, n + r + 1))
    cost = [-sum(row[j] for row in T) * (j < n or j > n + r) for j in range(n + r + 2)]
    while (enter := next((j for j in range(n) if cost[j] < 0), None)) is not None:
        leave = min((T[k][-1] / T[k][enter], basis[k], k) for k in range(r + 1) if T[k][enter] > 0)[2]
        T[leave] = [value / T[leave][enter] for value in T[leave]]
        for k in range(r + 1):
            if k != leave and T[k][enter]:
                T[k] = [value - T[k][enter] * other for value, other in zip(T[k], T[leave], strict=True)]
        cost = [value - cost[enter] * other for value, other in zip(cost, T[leave], strict=True)]
        basis[leave] = enter
    if cost[-1] == 0:
        a = [Fraction(0)] * n
        for k, j in enumerate(basis):
            if j < n:
                a[j] = T[k][-1]
        assert min(a) >= 0
        assert sum(a) == 1
        assert all(sum(x * z[k] for x, z in zip(a, Z, strict=True)) == 0 for k in range(r))
        return False, a
    w = [cost[n + k] - 1 for k in range(r)]
    assert min(sum(x * value for x, value in zip(w, z, strict=True)) for z in Z) > 0
    return True, w


def vanishes(K, y, a, precision, intercept=False):
    """Whether |sum_j a_j y_j K_ij| <= precision d_i sum_j d_j a_j at all i, in fractions, d_i^2 = K_ii.

    K and `a` >= 0 are floats, taken as they are stored; with an intercept, `a` is scaled to equal sums of both classes.
    Then no v has y_i (K v)_i > precision d_i sum_j d_j |v_j| at all i (up to a common b, with an intercept), by weak
    duality: whether the samples are separable depends on errors in K of that size.
    """
    a, y = [Fraction(float(value)) for value in a], [int(s) for s in y]
    if min(a) < 0 or sum(a) == 0:
        return False
    if intercept:
        plus, minus = (sum(value for value, s in zip(a, y, strict=True) if s == sign) for sign in (1, -1))
        if not (plus and minus):
            return False
        a = [value / (plus if s > 0 else minus) for value, s in zip(a, y, strict=True)]
    d = [Fraction(float(K[i][i]) ** 0.5) for i in range(len(a))]
    most = Fraction(precision) * sum(size * value for size, value in zip(d, a, strict=True))
    return all(
        abs(sum(value * s * Fraction(float(k)) for value, s, k in zip(a, y, row, strict=True))) <= most * size
        for row, size in zip(K, d, strict=True)
    )


def low_rank_problem(seed, powers=3):
    """Factor (n, r) and labels {0, 1}: 8 to 40 samples of rank 2 to 6, columns scaled by 1 to 10^-powers.

    Random or linear labels, one sample of a class, samples of one orthant or of very different lengths, repeated ones
    and zero ones.
    """
    random = np.random.default_rng(seed)
    n, r = int(random.integers(8, 41)), int(random.integers(2, 7))
    F = random.standard_normal((n, r)) * 10.0 ** -random.integers(0, powers + 1, r)
    kind = random.integers(0, 5)
    y = random.integers(0, 2, n)
    if kind == 0:
        F = np.abs(F)
    if kind in (1, 2):
        y = (F / np.abs(F).max(0) @ random.standard_normal(r) > 0).astype(int)
    if random.random() < 0.25:
        F[: n // 3] = F[n - n // 3 :]
    if random.random() < 0.1:
        F[random.integers(0, n)] = 0
    if kind == 3:
        y[:] = 0
        y[random.integers(0, n)] = 1
    if kind == 4:
        F *= 10.0 ** -random.integers(0, powers + 1, (n, 1))
    if y.min() == y.max():
        y[0] = 1 - y[0]
    return F, y
