"""The dual's quadratic form Q = yy' o K, gathered piece by piece in float64 so that no second n x n exists."""

from __future__ import annotations

import torch

from afterkernel.types import Float, Int, Tensor

ROWS_AT_ONCE = 256
# How far an entry of K, scaled to unit largest diagonal, may be from the exact inner product of the embeddings.
PRECISION = {torch.float64: 1e-14, torch.float32: 5e-7}


class SignedGram:
    """Q_ij = y_i y_j K_ij / scale + ridge [i = j], with scale the largest diagonal entry of K.

    `ridge` is relative to that scale. A dual vector `a` for K itself is `a / scale` for a dual vector of Q. Rows of K
    stand for its columns throughout (K is symmetric, and rows are contiguous).
    """

    def __init__(self, K: Float[Tensor, "n n"], y: Float[Tensor, " n"], ridge: float = 0.0) -> None:
        self.K, self.y, self.ridge = K, y.to(torch.float64), ridge
        self.n = K.shape[0]
        self.scale = float(K.diagonal().max())
        # a ridge makes every labelling separable, at any precision
        self.precision = 0.0 if ridge else PRECISION[K.dtype]

    def block(self, index: Int[Tensor, " k"]) -> Float[Tensor, "k k"]:
        """Q restricted to the samples `index`, float64."""
        Q = self.K[index[:, None], index].to(torch.float64)
        signs = self.y[index]
        Q.mul_(signs[:, None] / self.scale).mul_(signs)
        Q.diagonal().add_(self.ridge)
        return Q

    def response(
        self, support: Int[Tensor, " k"], a: Float[Tensor, " k"], pool: Int[Tensor, " m"] | None = None
    ) -> Float[Tensor, " m"]:
        """f = Q a for the dual `a` on the samples `support`, at the samples `pool` (all where None), float64."""
        coef = a * self.y[support]
        f = torch.zeros(self.n if pool is None else len(pool), dtype=torch.float64, device=self.K.device)
        for rows, weights in zip(torch.split(support, ROWS_AT_ONCE), torch.split(coef, ROWS_AT_ONCE), strict=True):
            block = self.K[rows] if pool is None else self.K[rows[:, None], pool]
            f.addmv_(block.to(torch.float64).T, weights)
        f.mul_(self.y if pool is None else self.y[pool]).div_(self.scale)
        if self.ridge:
            own = torch.zeros(self.n, dtype=torch.float64, device=self.K.device)
            own[support] = self.ridge * a
            f.add_(own if pool is None else own[pool])
        return f


def bracket(f: Float[Tensor, " m"], a: Float[Tensor, " m"]) -> tuple[float, float]:
    """Lower and upper bound on the margin without intercept for Q a = f: min f / sqrt(a'f) and sqrt(a'f) / 1'a."""
    norm = max(float(a @ f), 0.0) ** 0.5
    total = float(a.sum())
    if norm == 0 or total == 0:
        return 0.0, 0.0 if total else float("inf")
    return float(f.min()) / norm, norm / total
