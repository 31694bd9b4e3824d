"""The dual's quadratic form Q = yy' o K, gathered piece by piece in float64 so that no second n x n exists."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from afterkernel.svm.compensated import slice_bits, split
from afterkernel.types import Float, Int, Tensor

# Entries of K gathered at once: a CPU's second-level cache holds them, a GPU wants few launches.
ENTRIES_AT_ONCE = {"cpu": 2**17, "cuda": 2**24}
FEW = 8  # up to one entry in so many of a row counts as few
# How far K_ij may be from the exact inner product of the embeddings, in units of |phi_i| |phi_j|: some 4 roundings.
PRECISION = {torch.float64: 1e-15, torch.float32: 5e-7}


class SignedGram:
    """Q_ij = y_i y_j K_ij / scale + ridge / w_i [i = j], with scale the largest diagonal entry of K.

    `ridge` is relative to that scale; the `weights` w_i > 0 of the samples are 1 where None. A dual vector `a`
    for K itself is `a / scale` for a dual vector of Q. Rows of K are used as its columns throughout (K is symmetric,
    and rows are contiguous). `intercept` says whether the solvers must keep y'a = 0.
    """

    def __init__(
        self,
        K: Float[Tensor, "n n"],
        y: Float[Tensor, " n"],
        ridge: float = 0.0,
        intercept: bool = False,
        weights: Float[Tensor, " n"] | None = None,
    ) -> None:
        self.weights = weights
        self.K, self.y, self.ridge, self.intercept = K, y.to(torch.float64), ridge, intercept
        self.n = K.shape[0]
        self.scale = float(K.diagonal().max())
        # a ridge makes every labelling separable, at any precision
        self.precision = 0.0 if ridge else PRECISION[K.dtype]
        self.norms = (K.diagonal().to(torch.float64) / self.scale).sqrt()  # |phi_i|, the largest being 1

    def block(self, index: Int[Tensor, " k"]) -> Float[Tensor, "k k"]:
        """Q restricted to the samples `index`, float64."""
        Q = self.rectangle(index, index)
        Q.diagonal().add_(self.ridge_at(index))
        return Q

    def ridge_at(self, index: Int[Tensor, " k"]) -> float | Float[Tensor, " k"]:
        """What Q adds to the diagonal at the samples `index`."""
        return self.ridge if self.weights is None else self.ridge / self.weights[index]

    def rectangle(self, index: Int[Tensor, " j"], columns: Int[Tensor, " k"]) -> Float[Tensor, "j k"]:
        """Q at the samples `index` and `columns`, float64, without the ridge."""
        Q = torch.empty(len(index), len(columns), dtype=torch.float64, device=self.K.device)
        rows = _Rows(self.K, columns)
        for part in rows.parts(index):
            Q[part] = rows.gather(index[part])
        return Q.mul_(self.y[index][:, None] / self.scale).mul_(self.y[columns])

    def response(
        self,
        support: Int[Tensor, " k"],
        a: Float[Tensor, " k"],
        pool: Int[Tensor, " m"] | None = None,
        low: Float[Tensor, " k"] | None = None,
    ) -> Float[Tensor, " m"]:
        """f = Q a for the dual `a` on the samples `support`, at the samples `pool` (all where None), float64.

        With `low` the dual is a + low, and f is as good as if computed in twice the precision: a large `a` may take f
        apart in terms 1e10 times its size.
        """
        signs = self.y[support]
        weights = a * signs
        f = torch.zeros(self.n if pool is None else len(pool), dtype=torch.float64, device=self.K.device)
        main = torch.zeros_like(f)
        bits = slice_bits(len(support))
        if low is not None:
            coarse, rest = split(weights, bits, float(weights.abs().max()) if len(weights) else 0.0)
            rest = rest + low * signs
        rows = _Rows(self.K, pool)
        for part in rows.parts(support):
            block = rows.gather(support[part])
            if low is None:
                f.addmv_(block.T, weights[part])
                continue
            # a kernel's largest entry is on its diagonal, up to the rounding that the checks allow
            top, bottom = split(block, bits, 1.0001 * self.scale)
            main.addmv_(top.T, coarse[part])  # exact
            f.addmv_(top.T, rest[part]).addmv_(bottom.T, coarse[part] + rest[part])
        f.add_(main).mul_(self.y if pool is None else self.y[pool]).div_(self.scale)
        if self.ridge:
            own = torch.zeros(self.n, dtype=torch.float64, device=self.K.device)
            own[support] = self.ridge_at(support) * a
            f.add_(own if pool is None else own[pool])
        return f


class _Rows:
    """Rows of K, at the columns `pool` (all where None), gathered as float64 into memory that is used again."""

    def __init__(self, K: Float[Tensor, "n n"], pool: Int[Tensor, " m"] | None) -> None:
        self.K, self.pool = K, pool
        n, width = K.shape[0], K.shape[0] if pool is None else pool.shape[0]
        # few entries of a row are best fetched one by one, many from a copy of the row
        self.singly = pool is not None and width * FEW < n
        self.at_once = max(1, ENTRIES_AT_ONCE.get(K.device.type, 2**24) // max(width if self.singly else n, 1))
        self.own = torch.empty(0 if self.singly else self.at_once, n, dtype=K.dtype, device=K.device)
        self.double = torch.empty(self.at_once, width, dtype=torch.float64, device=K.device)

    def parts(self, rows: Int[Tensor, " k"]) -> Iterator[slice]:
        """The parts of `rows` that `gather` takes."""
        count = rows.shape[0]
        return (slice(begin, min(begin + self.at_once, count)) for begin in range(0, count, self.at_once))

    def gather(self, rows: Int[Tensor, " r"]) -> Float[Tensor, "r m"]:
        """The rows, which the next call overwrites."""
        count = rows.shape[0]
        double = self.double[:count]
        if self.pool is not None and self.singly:
            return double.copy_(self.K[rows[:, None], self.pool])
        own = torch.index_select(self.K, 0, rows, out=self.own[:count])
        return double.copy_(own if self.pool is None else own.index_select(1, self.pool))


def margin_bounds(
    f: Float[Tensor, " m"], a: Float[Tensor, " m"], signs: Float[Tensor, " m"] | None = None
) -> tuple[float, float]:
    """Lower and upper bound on the margin for f = Qa, without intercept: min f / sqrt(a'f) and sqrt(a'f) / 1'a.

    With the labels `signs` the bounds with an intercept, for a dual with y'a = 0: the mean of the classes' least f
    replaces min f.
    """
    norm = max(float(a @ f), 0.0) ** 0.5
    total = float(a.sum())
    if norm == 0 or total == 0:
        return 0.0, 0.0 if total else float("inf")
    if signs is None:
        return float(f.min()) / norm, norm / total
    return float(f[signs > 0].min() + f[signs < 0].min()) / 2 / norm, norm / total


def balance(dual: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """`dual` with the sums of both classes made equal, as the dual of an SVM with intercept must have them.

    A class with sum 0 can't be scaled; then the answer is 0 everywhere, which certifies nothing. Sums that are equal to
    rounding stay as they are.
    """
    plus, minus = float(dual[y > 0].sum()), float(dual[y < 0].sum())
    if not (plus > 0 and minus > 0):
        return torch.zeros_like(dual)
    if abs(plus - minus) <= 4 * torch.finfo(torch.float64).eps * plus:
        return dual
    middle = (plus + minus) / 2
    return torch.where(y > 0, dual * (middle / plus), dual * (middle / minus))


def exceeds_rounding(gram: SignedGram, f: Float[Tensor, " n"], size: float, intercept: bool) -> bool:
    """Whether f = Qa, for a of either sign, is above 0 despite rounding in K; `size` is sum_j |phi_j| |a_j|.

    With an intercept, whether some b has f + y b above 0.
    """
    sure = f - gram.precision * size * gram.norms
    if intercept:
        return float(sure[gram.y > 0].min() + sure[gram.y < 0].min()) > 0
    return float(sure.min()) > 0
