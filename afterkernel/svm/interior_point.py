"""Primal-dual interior point for min 1/2 a'Qa - 1'a, a >= 0 (and y'a = 0), dense Q: few steps, for any rank."""

from __future__ import annotations

import torch

from afterkernel.progress.work import report
from afterkernel.svm.bordered import Bordered
from afterkernel.svm.signed_gram import margin_bounds
from afterkernel.types import Float, Tensor


def interior_point(
    Q: Float[Tensor, "m m"],
    precision: float,
    target_gap: float = 1e-13,
    max_steps: int = 80,
    signs: Float[Tensor, " m"] | None = None,
) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"], int]:
    """The best dual vector a and its slack found, and the number of steps (one Cholesky factorisation each).

    Predictor and corrector of S. Mehrotra, "On the implementation of a primal-dual interior point method", SIAM J.
    Optimization 2 (1992). Stops at `target_gap`, or when the upper bound on the squared margin falls to `precision`:
    then 1 has no solution of Qa >= 1, that is the data are not separable, and a / 1'a is the witness. With labels
    `signs` (both must occur) y'a = 0 holds, for an SVM with intercept.
    Q is float64 with unit largest diagonal. Memory: two more m x m, one more with an intercept.
    """
    m = len(Q)
    a = torch.ones(m, dtype=Q.dtype, device=Q.device)
    if signs is not None:
        plus = (signs > 0).to(Q.dtype)
        a = plus * (m / 2 / plus.sum()) + (1 - plus) * (m / 2 / (1 - plus).sum())
    f = Q @ a
    scale = min(max(float(a.sum()) / max(float(a @ f), 1e-300), 1e-3), 1e3)
    a, f, b = a * scale, f * scale, 0.0
    s = (f - 1).clamp_min(1.0)
    best, best_gap, least, since_best = (a.clone(), s.clone()), float("inf"), float("inf"), 0
    step = 0
    for step in range(max_steps + 1):
        lower, upper = margin_bounds(f, a, signs)
        if upper**2 <= precision:
            return a, s, step
        gap = 1 - lower / upper
        report(step=step, gap=gap)
        since_best += 1
        if gap < best_gap:
            best, best_gap, since_best = (a.clone(), s.clone()), gap, 0
        if upper < least / 2:
            # the bound tends to 0, and the gap may grow meanwhile
            least, since_best = upper, 0
        if gap <= target_gap or step == max_steps or since_best > (5 if best_gap < 1e-6 else 15):
            break
        equations = _factor(Q, signs, s / a)
        if equations is None:
            break
        r, mu = f - 1 - s, float(a @ s) / m
        r0 = 0.0
        if signs is not None:
            r, r0 = r + b * signs, -float(signs @ a)
        da, db = equations.solve(-r - s, r0)
        ds = -s - s / a * da
        t = _longest(a, da, s, ds, 1.0)
        sigma = (float((a + t * da) @ (s + t * ds)) / m / mu) ** 3
        centre = (sigma * mu - da * ds) / a
        da, db = equations.solve(-r - s + centre, r0)
        ds = centre - s - s / a * da
        t = _longest(a, da, s, ds, 0.995)
        a, s, b = a + t * da, s + t * ds, b + t * db
        f = Q @ a
        if not bool(torch.isfinite(f).all()) or float(a.min()) <= 0 or float(s.min()) <= 0:
            break
    return *best, step


def _factor(
    Q: Float[Tensor, "m m"], signs: Float[Tensor, " m"] | None, diagonal: Float[Tensor, " m"]
) -> Bordered | None:
    # the larger jitters are for a K formed in float32, whose small eigenvalues may be negative
    for jitter in (0.0, 1e-15, 1e-13, 1e-11, 1e-9, 1e-7, 1e-6):
        equations = Bordered.of(Q, signs, diagonal + jitter)
        if equations is not None:
            return equations
    return None


def _longest(
    a: Float[Tensor, " m"], da: Float[Tensor, " m"], s: Float[Tensor, " m"], ds: Float[Tensor, " m"], part: float
) -> float:
    # a and s share one step, because Q couples them: only then does the residual shrink with it
    value, change = torch.cat([a, s]), torch.cat([da, ds])
    limit = torch.where(change < 0, -value / change, torch.inf).min()
    return min(1.0, part * float(limit))
