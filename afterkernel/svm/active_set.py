"""The primal-dual active-set method for min 1/2 a'Qa - 1'a, a >= 0 (and y'a = 0): each step solves linear equations."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from afterkernel.progress.work import is_watched, report
from afterkernel.svm.bordered import Bordered, Equations, NearbyEquations
from afterkernel.svm.compensated import add, exact_sum
from afterkernel.svm.signed_gram import SignedGram
from afterkernel.types import Float, Int, Tensor

EPS = torch.finfo(torch.float64).eps
SLACK = 1e-11  # how far below 1 an f_i may lie; the gap is no larger
CARE = 5e-11  # how far rounding may push f before products of twice the precision are taken
LARGEST_GROWTH = 250, 2  # at most so many samples enter at once, or so many times the active ones


@dataclass(frozen=True)
class SparseDual:
    """A dual vector: a + low on the samples `support`, 0 elsewhere, and the intercept `b` (0 where there is none).

    `low` is what rounding to float64 leaves out of `a`; None where that does not matter.
    """

    support: Int[Tensor, " k"]
    a: Float[Tensor, " k"]
    low: Float[Tensor, " k"] | None = None
    b: float = 0.0

    def positive(self) -> SparseDual:
        """Without the samples whose `a` is not above 0."""
        kept = self.a > 0
        return SparseDual(self.support[kept], self.a[kept], None if self.low is None else self.low[kept], self.b)


def needs_care(gram: SignedGram, a: Float[Tensor, " k"]) -> bool:
    """Whether rounding in a and in f = Qa (unit largest diagonal) may show in the gap; ignored with a ridge."""
    return not gram.ridge and 4 * EPS * float(a.norm()) > CARE


def allowance(found: SparseDual) -> float:
    """How far below 1 rounding alone may push f, at least SLACK."""
    return SLACK if found.low is not None else max(SLACK, 4 * EPS * float(found.a.norm()))


def achieved(gram: SignedGram, found: SparseDual, pool: Int[Tensor, " m"] | None = None) -> Float[Tensor, " m"]:
    """y_i (w.phi_i + b) at the samples `pool` (all where None)."""
    f = gram.response(found.support, found.a, pool, found.low)
    if found.b:
        f.add_(gram.y if pool is None else gram.y[pool], alpha=found.b)
    return f


def primal_dual(
    gram: SignedGram, pool: Int[Tensor, " m"] | None, start: Int[Tensor, " k"] | SparseDual, max_steps: int
) -> tuple[SparseDual | None, int]:
    """Solve on the samples `pool` (all where None) from an active set or its solution; the answer, or None where stuck.

    Each step solves Q_AA a_A + b y_A = 1; the next set is {a_i > 0 in A} and {f_i < 1 outside A} (M. Hintermueller,
    K. Ito and K. Kunisch, "The primal-dual active set strategy as a semismooth Newton method", SIAM J. Optimization 13,
    2002), of which only the most violated enter where they are too many. Few steps on positive definite Q, but it may
    cycle on a singular one: a set seen twice, more than `max_steps` steps or equations without a solution are stuck.
    """
    found = start if isinstance(start, SparseDual) else None
    active, seen = start.support if isinstance(start, SparseDual) else start, set[bytes]()
    inside = torch.zeros(gram.n, dtype=torch.bool, device=active.device)
    steps, solver = 0, Solver(gram)
    while True:
        if found is None:
            key = active.cpu().numpy().tobytes()
            if key in seen or steps == max_steps or len(active) == 0:
                return None, steps
            seen.add(key)
            steps += 1
            found = solver.solve(active)
            if found is None:
                return None, steps
        f = achieved(gram, found, pool)
        if is_watched():
            # With Q_AA a = 1 the margin lies within min f and 1 of |w| / 1'a, as far as a >= 0.
            report(step=steps, gap=1 - float(f.min()))
        inside.zero_()[active] = True
        below = (f < 1 - allowance(found)) & ~(inside if pool is None else inside[pool])
        entering = below.nonzero().squeeze(1)
        most = max(LARGEST_GROWTH[0], LARGEST_GROWTH[1] * len(active))
        if len(entering) > most:
            entering = entering[f[entering].topk(most, largest=False).indices]
        if pool is not None:
            entering = pool[entering]
        positive = found.a > 0
        if len(entering) == 0 and bool(positive.all()):
            return found, steps
        active, found = torch.cat([active[positive], entering]).sort().values, None


class Solver:
    """Solves the equations of one active set after the other: Q_AA a + b y_A = 1, y_A'a = 0."""

    def __init__(self, gram: SignedGram) -> None:
        self.gram = gram
        self.base: Equations | None = None

    def solve(self, active: Int[Tensor, " k"]) -> SparseDual | None:
        """The solution on `active` (sorted); None if there is none."""
        if self.base is not None and NearbyEquations.close(self.base, active):
            found = _solution(NearbyEquations(self.base, active), 2)
            if found is not None and not needs_care(self.gram, found.a):
                return found
        self.base = None
        Q = self.gram.block(active)
        signs = self.gram.y[active] if self.gram.intercept else None
        # for a singular Q_AA refinement reduces the residual if 1 lies in its range
        for jitter, passes in ((0.0, 2), (1e-13, 4)):
            bordered = Bordered.of(Q, signs, jitter)
            if bordered is None:
                continue
            equations = Equations(self.gram, active, Q, bordered)
            found = _solution(equations, passes)
            if found is not None:
                self.base = equations if jitter == 0 else None
                return found
        return None


def _solution(equations: Equations, passes: int) -> SparseDual | None:
    """The equations' solution, refined; None if the residual stays too large."""
    gram, active = equations.gram, equations.active
    signs = gram.y[active] if gram.intercept else None

    a, b = torch.zeros(len(active), dtype=torch.float64, device=active.device), 0.0
    largest = float("inf")
    for done in range(passes + 1):
        r = 1 - equations.product(a)
        if signs is not None:
            r -= b * signs
        largest = float(r.abs().max())
        if largest <= SLACK / 10 or done == passes:
            break
        step, shift = equations.solve(r, 0.0 if signs is None else -float(signs @ a))
        a, b = a + step, b + shift
    if needs_care(gram, a):
        found = _refine(equations, SparseDual(active, a, None, b))
        if found is not None:
            return found
    # the first bound is for an ill-conditioned Q, the last against an a that is rounding alone
    fine = largest <= min(max(1e-9, 64 * EPS * float(a.abs().sum())), 1e-5)
    return SparseDual(active, a, None, b) if fine else None


def _refine(equations: Equations, found: SparseDual, max_steps: int = 12) -> SparseDual | None:
    """`found` refined by residuals of twice the precision, in a and what rounding leaves out; None if that fails."""
    a, low, b = found.a, torch.zeros_like(found.a), found.b
    best, least = None, float("inf")
    for _ in range(max_steps):
        r, r0 = careful_residual(equations.gram, SparseDual(found.support, a, low, b))
        largest = float(r.abs().max())
        if not largest < least / 2:
            break
        best, least = SparseDual(found.support, a, low, b), largest
        if largest <= SLACK / 100:
            break
        step, shift = equations.solve(r, r0)
        (a, low), b = add(a, low, step), b + shift
    return best if least <= SLACK / 2 else None


def careful_residual(
    gram: SignedGram, found: SparseDual, pool: Int[Tensor, " m"] | None = None
) -> tuple[Float[Tensor, " m"], float]:
    """1 - Q a - b y at `pool` (the support where None), and -y'a, as if computed in twice the precision."""
    pool = found.support if pool is None else pool
    low = torch.zeros_like(found.a) if found.low is None else found.low
    f = gram.response(found.support, found.a, pool, low)
    if not gram.intercept:
        return 1 - f, 0.0
    signs = gram.y[found.support]
    return 1 - f - found.b * gram.y[pool], -exact_sum(found.a * signs, low * signs)
