"""A primal active-set method on the dual: from a feasible point to the optimum, for any rank of Q."""

from __future__ import annotations

import torch

from afterkernel.progress.work import report
from afterkernel.svm.active_set import SLACK, SparseDual, careful_residual, needs_care
from afterkernel.svm.bordered import Bordered
from afterkernel.svm.compensated import add
from afterkernel.svm.signed_gram import SignedGram
from afterkernel.types import Bool, Float, Int, Tensor

JITTERS = 0.0, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6


def polish(
    gram: SignedGram, work: Int[Tensor, " m"], Q: Float[Tensor, "m m"], a: Float[Tensor, " m"], max_steps: int
) -> tuple[SparseDual, int]:
    """Improve a feasible a >= 0 on the samples `work`, Q their block; the last dual and the number of steps.

    C. L. Lawson and R. J. Hanson, "Solving Least Squares Problems" (1974), ch. 23, entering all violated samples at
    once, or one where none of them could stay. The objective never falls. A singular block is solved through
    Q + jitter I: the step is then long in a direction of its null space on which the objective rises, and ends at the
    boundary; where there is none, that direction is a convex combination of norm zero, and is returned.
    """
    state = _State(gram, work, Q, a)
    step = 0
    while step < max_steps and state.choose():
        step += 1
        report(step=step)
        if not state.move():
            break
    return state.found(), step


class _State:
    """A feasible dual, and the samples that are free to move."""

    def __init__(
        self, gram: SignedGram, work: Int[Tensor, " m"], Q: Float[Tensor, "m m"], a: Float[Tensor, " m"]
    ) -> None:
        self.gram, self.work, self.Q, self.signs = gram, work, Q, gram.y[work]
        self.a, self.low, self.b = a.clone(), torch.zeros_like(a), 0.0
        self.free: Bool[Tensor, " m"] = a > 0
        self.entered = self.barred = torch.zeros_like(self.free)
        self.alone = False  # whether samples enter one at a time
        self.last = float("inf")  # largest residual of the free samples before the last full step

    def found(self) -> SparseDual:
        """The current dual."""
        low = self.low if needs_care(self.gram, self.a) else None
        return SparseDual(self.work, self.a, low, self.b).positive()

    def choose(self) -> bool:
        """Once the free samples are solved for, free those that are violated; False where there are none."""
        self.r, self.r0 = self._residual()
        inner = float(torch.where(self.free, self.r, 0.0).abs().max())
        solved = inner <= SLACK / 10 or not inner < self.last / 2
        self.last = inner
        if not solved:
            return True
        entering = (self.r > SLACK) & ~self.free & ~self.barred
        if self.alone:
            most = torch.where(entering, self.r, -torch.inf).argmax()
            entering = entering & (torch.arange(len(entering), device=entering.device) == most)
        self.free, self.entered, self.last = self.free | entering, entering, float("inf")
        return bool(entering.any())

    def move(self) -> bool:
        """One step for the free samples, to the optimum or to the first bound; False where no step can follow."""
        active = self.free.nonzero().squeeze(1)
        block = self.Q[active[:, None], active]
        solved = self._solve(active, block)
        if solved is None:
            return False
        direction, shift, exact = solved
        value = self.a[active]
        limit = torch.where(direction < 0, -value / direction, torch.inf)
        furthest, t = float(limit.min()), 1.0
        if not exact:
            curvature, slope = float(direction @ (block @ direction)), float(direction @ self.r[active])
            t = slope / curvature if curvature > 0 else float("inf")
        t = min(t, furthest)
        if t == 0:
            self._drop(active[limit == 0])
            return True
        self.alone, self.barred = False, torch.zeros_like(self.free)
        if t == float("inf"):
            self.a, self.low = torch.zeros_like(self.a), torch.zeros_like(self.low)
            self.a[active] = direction.clamp_min(0)
            return False
        high, low = add(value, self.low[active], t * direction)
        gone = (high <= 0) | (limit <= t)
        self.a[active], self.low[active] = torch.where(gone, 0.0, high), torch.where(gone, 0.0, low)
        self.b += t * shift
        if bool(gone.any()):
            self.free[active[gone]] = False
            self.last = float("inf")
        return True

    def _drop(self, blocked: Int[Tensor, " j"]) -> None:
        """Release samples at 0 that would leave at once; one that entered alone may not enter again before a move."""
        self.free[blocked] = False
        self.last = float("inf")
        if not bool((self.free & self.entered).any()):
            if self.alone:
                self.barred = self.barred | self.entered
            self.alone = True

    def _residual(self) -> tuple[Float[Tensor, " m"], float]:
        if needs_care(self.gram, self.a):
            dual = SparseDual(self.work, self.a, self.low, self.b).positive()
            return careful_residual(self.gram, dual, self.work)
        r = 1 - self.Q @ self.a
        return (r - self.b * self.signs, -float(self.signs @ self.a)) if self.gram.intercept else (r, 0.0)

    def _solve(
        self, active: Int[Tensor, " k"], block: Float[Tensor, "k k"]
    ) -> tuple[Float[Tensor, " k"], float, bool] | None:
        signs = self.signs[active] if self.gram.intercept else None
        for jitter in JITTERS:
            equations = Bordered.of(block, signs, jitter)
            if equations is not None:
                return *equations.solve(self.r[active], self.r0), jitter == 0
        return None
