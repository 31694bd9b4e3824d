"""Soft margins of kernels of low rank: semismooth Newton steps with a factor of K in place of K's blocks.

Kernels of few features, such as the conjugate kernel of a narrow network, are not separable at large n, and then nearly
all samples are support vectors: a Cholesky factor of their block costs O(n^3). With K = F F' + E, F (n, r) and E small
against the ridge, Newton steps on F F' alone cost O(n r^2), and a few corrections with the rows of K itself lead to the
solution for K, to rounding.
"""

from __future__ import annotations

import torch

from afterkernel.progress.work import report
from afterkernel.svm.active_set import EPS, SLACK, SparseDual, achieved, allowance
from afterkernel.svm.bordered import Bordered
from afterkernel.svm.factor import PivotedFactor
from afterkernel.svm.signed_gram import PRECISION, SignedGram
from afterkernel.types import Bool, Float, Tensor

SMALLEST = 500  # samples; a Cholesky factor is as cheap below
LARGEST_RANK = 400
SAMPLES_PER_RANK = 8  # a rank above n / 8 counts as full
MAX_STEPS = 60  # Newton steps, on the factor and on K each


def low_rank_factor(gram: SignedGram, factor: PivotedFactor | None = None) -> Float[Tensor, "n r"] | None:
    """F with F F' = yy' o K / scale up to E, |E_ij| <= max(ridge / n, precision of K); None where r is too large.

    Of `factor`, where K has one already.
    """
    n, enough = gram.n, max(gram.ridge / gram.n, PRECISION[gram.K.dtype])
    known, factor = factor is not None, PivotedFactor(gram) if factor is None else factor
    # with a factor at hand only the Newton steps cost time
    rank = factor.rank(enough, n // 2 if known and n < SMALLEST else min(n // SAMPLES_PER_RANK, LARGEST_RANK))
    if rank is None:
        return None
    return factor.columns(rank).to(gram.K.device).mul_((gram.y * gram.norms)[:, None])


def newton(gram: SignedGram, factor: Float[Tensor, "n r"]) -> tuple[SparseDual | None, int]:
    """The dual of the soft margin, `factor` being that of `gram`, and the steps; None where the steps do not converge.

    First the soft margin of F F' alone, then corrections by the residual for K, which converge as E is small against
    the ridge. Memory: three times F.
    """
    a, b, steps = _soft_margin(factor, gram)
    found = _Corrections(gram, factor, a, b)
    return (found.dual() if found.converge() else None), steps + found.steps


def _soft_margin(factor: Float[Tensor, "n r"], gram: SignedGram) -> tuple[Float[Tensor, " n"], float, int]:
    """The dual for F F', its intercept, and the Newton steps on ridge |w|^2 + |s|^2, s = max(0, 1 - F w - b y).

    O. Chapelle, "Training a support vector machine in the primal", Neural Computation 19 (2007). A step that does not
    lower the objective is halved, so that the steps do not cycle.
    """
    Z = torch.cat([factor, gram.y[:, None]], 1) if gram.intercept else factor
    weight = torch.full((Z.shape[1],), gram.ridge, dtype=torch.float64, device=Z.device)
    if gram.intercept:
        weight[-1] = 0.0
    w = torch.zeros_like(weight)

    def evaluate(w: Float[Tensor, " r"]) -> tuple[Float[Tensor, " n"], float]:
        s = (1 - Z @ w).clamp_min_(0)
        return s, float(weight @ w.square() + s @ s)

    s, value = evaluate(w)
    steps = 0
    for steps in range(1, MAX_STEPS + 1):
        active = s > 0
        rows = Z[active]
        H = rows.T @ rows + torch.diag(weight)
        inverse = Bordered.of(H, None) or Bordered.of(H, None, 1e-12 * float(H.diagonal().max()))
        if inverse is None:
            break
        step, t = inverse.apply(s @ Z - weight * w), 1.0
        report(step=steps, gap=float(step.abs().max()))
        trial, lower = evaluate(w + step)
        while lower > value and t > 1e-6:
            t /= 2
            trial, lower = evaluate(w + t * step)
        if lower > value:
            break
        w, s, value = w + t * step, trial, lower
        if t == 1 and torch.equal(active, s > 0):
            break
    return s / gram.ridge, float(w[-1]) if gram.intercept else 0.0, steps


class _Corrections:
    """A dual vector a, its intercept b, and the samples that are active, corrected by residuals for K."""

    def __init__(self, gram: SignedGram, factor: Float[Tensor, "n r"], a: Float[Tensor, " n"], b: float) -> None:
        self.gram, self.factor, self.a, self.b, self.steps = gram, factor, a, b, 0
        self.active: Bool[Tensor, " n"] = a > 0

    def converge(self) -> bool:
        """Correct until neither the active set nor the residual improves; whether the residual is then small enough."""
        least, since_least = float("inf"), 0
        while self.steps < MAX_STEPS:
            found = self.dual()
            f = achieved(self.gram, found)
            r0 = -float(self.gram.y @ self.a) if self.gram.intercept else 0.0
            largest = max(float(torch.where(self.active, 1 - f, 0.0).abs().max()), abs(r0))
            report(step=self.steps, gap=largest)
            before, self.active = self.active, torch.where(self.active, self.a > 0, f < 1 - allowance(found))
            unchanged = torch.equal(before, self.active)
            since_least = 0 if largest < least / 2 else since_least + 1
            least = min(least, largest)
            if unchanged and (largest <= SLACK / 10 or since_least):
                # the second bound is the rounding of f
                return largest <= min(max(SLACK, 64 * EPS * float(self.a.sum())), 1e-5)
            if since_least > 5:
                return False
            self._correct(f, r0)
            self.steps += 1
        return False

    def dual(self) -> SparseDual:
        """The current dual."""
        support = self.a.nonzero().squeeze(1)
        return SparseDual(support, self.a[support], None, self.b)

    def _correct(self, f: Float[Tensor, " n"], r0: float) -> None:
        """Solve for the active samples, the others at 0, by the factor and the residual 1 - f, -y'a = r0."""
        leaving = torch.where(self.active, 0.0, self.a)
        f = f - self.factor @ (leaving @ self.factor)
        r0 += float(self.gram.y @ leaving)
        self.a = torch.where(self.active, self.a, 0.0)
        rows, signs, ridge = self.factor[self.active], self.gram.y[self.active], self.gram.ridge
        small = rows.T @ rows
        small.diagonal().add_(ridge)
        inner = Bordered(torch.linalg.cholesky(small), None)

        def inverse(r: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
            # of F_A F_A' + ridge, by the Sherman-Morrison-Woodbury formula
            return (r - rows @ inner.apply(r @ rows)) / ridge

        x = inverse(1 - f[self.active])
        if self.gram.intercept:
            border = inverse(signs)
            shift = (float(signs @ x) - r0) / float(signs @ border)
            x, self.b = x - shift * border, self.b + shift
        self.a[self.active] += x
