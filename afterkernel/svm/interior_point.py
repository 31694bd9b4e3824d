"""Primal-dual interior point for min 1/2 a'Qa - 1'a, a >= 0, with dense Q: few steps, whatever the rank of Q."""

from __future__ import annotations

import torch

from afterkernel.svm.signed_gram import bracket
from afterkernel.types import Float, Tensor


def interior_point(
    Q: Float[Tensor, "m m"], precision: float, target_gap: float = 1e-13, max_steps: int = 80
) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"], int]:
    """The best dual vector a and its slack found, and the number of steps (one Cholesky factorisation each).

    Predictor and corrector of S. Mehrotra, "On the implementation of a primal-dual interior point method", SIAM J.
    Optimization 2 (1992). Stops at `target_gap`, or when the upper bound on the squared margin falls to `precision`:
    then 1 has no solution of Qa >= 1, that is the data are not separable, and a / 1'a is the witness.
    Q is float64 with unit largest diagonal. Memory: two more m x m.
    """
    m = len(Q)
    a = torch.full((m,), min(max(m / max(float(Q.sum()), 1e-300), 1e-3), 1e3), dtype=Q.dtype, device=Q.device)
    f = Q @ a
    s = (f - 1).clamp_min(1.0)
    best, best_gap, since_best = (a.clone(), s.clone()), float("inf"), 0
    step = 0
    for step in range(max_steps + 1):
        lower, upper = bracket(f, a)
        if upper**2 <= precision:
            return a, s, step
        gap = 1 - lower / upper
        since_best += 1
        if gap < best_gap:
            best, best_gap, since_best = (a.clone(), s.clone()), gap, 0
        if gap <= target_gap or step == max_steps or (since_best > 5 and best_gap < 1e-6):
            break
        factor = _factor(Q, s / a)
        if factor is None:
            break
        r, mu = f - 1 - s, float(a @ s) / m
        da = _solve(factor, -r - s)
        ds = -s - s / a * da
        t = _longest(a, da, s, ds, 1.0)
        sigma = (float((a + t * da) @ (s + t * ds)) / m / mu) ** 3
        centre = (sigma * mu - da * ds) / a
        da = _solve(factor, -r - s + centre)
        ds = centre - s - s / a * da
        t = _longest(a, da, s, ds, 0.995)
        a, s = a + t * da, s + t * ds
        f = Q @ a
        if not bool(torch.isfinite(f).all()) or float(a.min()) <= 0 or float(s.min()) <= 0:
            break
    return *best, step


def _factor(Q: Float[Tensor, "m m"], diagonal: Float[Tensor, " m"]) -> Float[Tensor, "m m"] | None:
    # the larger jitters are for a K formed in float32, whose small eigenvalues may be negative
    for jitter in (0.0, 1e-15, 1e-13, 1e-11, 1e-9, 1e-7, 1e-6):
        M = Q.clone()
        M.diagonal().add_(diagonal + jitter)
        factor: Tensor
        factor, info = torch.linalg.cholesky_ex(M)
        if int(info) == 0:
            return factor
    return None


def _solve(factor: Float[Tensor, "m m"], rhs: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    return torch.cholesky_solve(rhs[:, None], factor).squeeze(1)


def _longest(
    a: Float[Tensor, " m"], da: Float[Tensor, " m"], s: Float[Tensor, " m"], ds: Float[Tensor, " m"], part: float
) -> float:
    # a and s share one step, because Q couples them: only then does the residual shrink with it
    value, change = torch.cat([a, s]), torch.cat([da, ds])
    limit = torch.where(change < 0, -value / change, torch.inf).min()
    return min(1.0, part * float(limit))
