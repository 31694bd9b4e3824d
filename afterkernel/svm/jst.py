"""The `jst` backend: margin maximisation by dual acceleration, the first-order methods of Ji, Srebro and Telgarsky."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from afterkernel.options import option
from afterkernel.progress.work import report
from afterkernel.svm.backend import Backend, Solution
from afterkernel.svm.signed_gram import SignedGram, margin_bounds
from afterkernel.types import Float, Int, Tensor


@dataclass
class JST(Backend):
    """Z. Ji, N. Srebro, M. Telgarsky, "Fast margin maximization via dual acceleration" (2107.00595), in Gram form.

    With the exponential loss, step size theta = 1 and momentum beta_t = t / (t + 1), for embeddings of norm at most 1,
    from g_{-1} = w_0 = 0 (q_t are the softmax weights of the samples at w_t, Z the matrix of the y_i phi_i):

        g_t = beta_t (g_{t-1} + Z' q_t),   w_{t+1} = w_t + theta (g_t + Z' q_t).

    This is Algorithm 1. Algorithm 2 has the unit vector of one sample, drawn from q_t, in place of q_t (beta and theta
    as in the paper's Figure 3). Here g = Z' c and w = Z' b, so that only products with Q = ZZ' occur: one a step, of
    which Algorithm 2 needs one row of K. The gap of Algorithm 1 falls about like t^-2, that of Algorithm 2 slower.

    q_t is proportional to exp(-y_i w_t.phi_i). The program of arXiv 2105.10585 limits that exponent to [-16, 16],
    which makes q_t uniform once all samples are beyond: `clip=16` does that. No intercept. It always ends: at a gap
    of `tol`, seen every `check_every` steps, or after `max_steps` steps.
    """

    what: ClassVar[str] = "first-order margin maximisation, which needs little memory (arXiv 2107.00595)"
    name: str = option("jst", "which backend (set by svm=NAME)")
    tol: float = option(1e-3, "relative duality gap at which to stop", above=0, at_most=1)
    algorithm: int = option(1, "1: all samples per step; 2: one random sample per step", at_least=1, at_most=2)
    max_steps: int = option(10_000, "steps after which it stops, converged or not", at_least=1)
    check_every: int = option(50, "steps between checks of the duality gap", at_least=1)
    clip: float = option(
        0.0, "limit on the absolute exponent of the sample weights; 0 is no limit", at_least=0, at_most=700
    )
    seed: int = option(0, "seed of the samples that Algorithm 2 draws", at_least=0)

    @property
    def inactive(self) -> frozenset[str]:
        """Options without effect, given the others: Algorithm 1 has no random samples."""
        return frozenset({"seed"} if self.algorithm == 1 else ())

    def solve(
        self, K: Float[Tensor, "n n"], y: Float[Tensor, " n"], start: Int[Tensor, " k"] | None = None
    ) -> Solution:
        """The dual vector b of w_t, scaled to be a hard-margin dual."""
        gram = SignedGram(K, y)
        b, f, steps = self._all_samples(gram) if self.algorithm == 1 else self._one_sample(gram)
        square = float(b @ f)
        unit = float(b.sum()) / square if square > 0 else 1.0
        clipped = f", exponent within {self.clip:g}" if self.clip else ""
        return Solution(
            b * unit / gram.scale, 0.0, f"dual acceleration, algorithm {self.algorithm}: {steps} steps{clipped}"
        )

    def _all_samples(self, gram: SignedGram) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"], int]:
        """Algorithm 1: b, Qb and the number of steps."""
        K, n, signs = gram.K, gram.n, gram.y.to(gram.K.dtype)
        every = torch.arange(n, device=K.device)
        b, c, Qb, Qc = torch.zeros(4, n, dtype=torch.float64, device=K.device)
        step = 0
        for step in range(1, self.max_steps + 1):
            q = self._weights(Qb)
            # in K's own precision; the look below renews Qb in float64 before the errors add up
            Qq = (signs * torch.mv(K, signs * q.to(K.dtype))).to(torch.float64) / gram.scale
            beta = (step - 1) / step
            c, Qc = beta * (c + q), beta * (Qc + Qq)
            b, Qb = b + c + q, Qb + Qc + Qq
            if step % self.check_every == 0 or step == self.max_steps:
                Qb = gram.response(every, b)
                if self._done(Qb, b, step):
                    break
        return b, Qb, step

    def _one_sample(self, gram: SignedGram) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"], int]:
        """Algorithm 2: b, Qb and the number of steps. One row of K a step; Qb is a sum of such rows in float64."""
        K, signs, scaled = gram.K, gram.y, gram.y / gram.scale
        generator = torch.Generator().manual_seed(self.seed)
        b, c, Qb, Qc = torch.zeros(4, gram.n, dtype=torch.float64, device=K.device)
        step = 0
        for step in range(1, self.max_steps + 1):
            # drawn on the CPU by the inverse of the distribution function: the same on every device
            below = self._weights(Qb).cumsum(0)
            draw = float(torch.rand((), generator=generator, dtype=torch.float64))
            i = torch.searchsorted(below, below[-1:] * draw, right=True).clamp_max_(gram.n - 1)
            row = (K.index_select(0, i)[0] * scaled).mul_(signs[i])
            beta = (step - 1) / step
            c[i] += 1
            c.mul_(beta)
            Qc.add_(row).mul_(beta)
            b.add_(c)
            b[i] += 1
            Qb.add_(Qc).add_(row)
            if step % self.check_every == 0 and self._done(Qb, b, step):
                break
        return b, Qb, step

    def _weights(self, Qb: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        exponent = -Qb
        return torch.softmax(exponent.clamp_(-self.clip, self.clip) if self.clip else exponent, 0)

    def _done(self, Qb: Float[Tensor, " n"], b: Float[Tensor, " n"], step: int) -> bool:
        lower, upper = margin_bounds(Qb, b)
        if upper == 0:
            return True
        gap = 1 - lower / upper
        report(step=step, gap=gap)
        return gap <= self.tol
