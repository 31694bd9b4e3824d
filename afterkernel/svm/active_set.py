"""Active-set methods for min 1/2 a'Qa - 1'a, a >= 0: exact where they end, since each step solves linear equations."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from afterkernel.svm.signed_gram import SignedGram
from afterkernel.types import Float, Int, Tensor

EPS = torch.finfo(torch.float64).eps
SLACK = 1e-11  # how far below 1 an f_i may lie; the gap is no larger


@dataclass(frozen=True)
class SparseDual:
    """A dual vector: values `a` > 0 on the samples `support`, 0 elsewhere."""

    support: Int[Tensor, " k"]
    a: Float[Tensor, " k"]


def allowance(a: Float[Tensor, " k"]) -> float:
    """How far below 1 rounding alone may push f = Qa (unit largest diagonal), at least SLACK."""
    return max(SLACK, 4 * EPS * float(a.norm()))


def primal_dual(
    gram: SignedGram, pool: Int[Tensor, " m"] | None, start: Int[Tensor, " k"], max_steps: int
) -> tuple[SparseDual | None, int]:
    """Solve on the samples `pool` (all where None) from the active set `start`; the answer, or None where stuck.

    Each step solves Q_AA a_A = 1; the next set is {a_i > 0 in A} and {f_i < 1 outside A} (M. Hintermueller, K. Ito and
    K. Kunisch, "The primal-dual active set strategy as a semismooth Newton method", SIAM J. Optimization 13, 2002).
    Few steps on positive definite Q, but it may cycle on a singular one: a set seen twice, more than `max_steps`
    steps or a failed factorisation count as stuck.
    """
    active, seen = start, set[bytes]()
    for step in range(1, max_steps + 1):
        key = active.cpu().numpy().tobytes()
        if key in seen:
            return None, step
        seen.add(key)
        Q = gram.block(active)
        a = solve_block(Q, torch.ones_like(Q[0]))
        if a is None:
            return None, step
        f = gram.response(active, a, pool)
        inside = torch.zeros(gram.n, dtype=torch.bool, device=active.device)
        inside[active] = True
        below = f < 1 - allowance(a)
        samples = torch.arange(gram.n, device=active.device) if pool is None else pool
        entering = samples[below & ~inside[samples]]
        positive = a > 0
        if len(entering) == 0 and bool(positive.all()):
            return SparseDual(active, a), step
        active = torch.cat([active[positive], entering]).sort().values
        if len(active) == 0:
            return None, step
    return None, max_steps


def solve_block(Q: Float[Tensor, "k k"], rhs: Float[Tensor, " k"]) -> Float[Tensor, " k"] | None:
    """Solve Q x = rhs for a positive semi-definite float64 Q; None if Q has no accurate solution.

    A singular Q is solved through Q + jitter I; refinement then gets the residual down if rhs lies in Q's range.
    """
    for jitter in (0.0, 1e-13):
        M = Q
        if jitter:
            M = Q.clone()
            M.diagonal().add_(jitter)
        factor, info = torch.linalg.cholesky_ex(M)
        if int(info) != 0:
            continue
        x = torch.zeros_like(rhs)
        for _ in range(2 if jitter == 0 else 4):
            x = x + torch.cholesky_solve((rhs - Q @ x)[:, None], factor).squeeze(1)
        # the first bound is for an ill-conditioned Q, the last against an x that is rounding alone
        if float((rhs - Q @ x).abs().max()) <= min(max(1e-9, 64 * EPS * float(x.abs().sum())), 1e-5):
            return x
    return None


def descend(Q: Float[Tensor, "m m"], a: Float[Tensor, " m"], max_steps: int = 60) -> tuple[Float[Tensor, " m"], int]:
    """Polish a feasible a >= 0 with dense Q; the objective never rises, so that it can't cycle.

    The primal active-set method of C. L. Lawson and R. J. Hanson, "Solving Least Squares Problems" (1974), ch. 23,
    entering all violated samples at once. Returns the last a and the number of steps; stops early where Q_AA has no
    accurate solution.
    """
    a = a.clone()
    free = a > 0
    steps = 0
    while steps < max_steps:
        steps += 1
        active = free.nonzero().squeeze(1)
        direction = solve_block(Q[active[:, None], active], 1 - (Q @ a)[active])
        if direction is None:
            break
        value = a[active]
        limit = torch.where(direction < 0, -value / direction, torch.inf)
        t = min(1.0, float(limit.min()))
        moved = (value + t * direction).clamp_min(0)
        if t < 1:
            moved[limit <= t] = 0
            free[active[limit <= t]] = False
        a[active] = moved
        if t < 1:
            continue
        entering = (Q @ a < 1 - allowance(a)) & ~free
        if not bool(entering.any()):
            break
        free |= entering
    return a, steps
