"""The `jst` backend: margin maximisation by dual acceleration, the first-order method of Ji, Srebro and Telgarsky."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from afterkernel.options import option
from afterkernel.svm.backend import Backend, Solution
from afterkernel.svm.signed_gram import SignedGram, bracket
from afterkernel.types import Float, Tensor


@dataclass
class JST(Backend):
    """Algorithm 1 of Z. Ji, N. Srebro, M. Telgarsky, "Fast margin maximization via dual acceleration" (2107.00595).

    With the exponential loss, step size 1 and momentum t / (t + 1), for embeddings of norm at most 1, from
    g_{-1} = w_0 = 0 (q_t are the softmax weights of the samples at w_t, Z the matrix of the y_i phi_i):

        g_t = beta_t (g_{t-1} + Z' q_t),   w_{t+1} = w_t + theta (g_t + Z' q_t).

    Here g = Z' c and w = Z' b, so that only products with Q = ZZ' occur: one a step. The gap falls about like t^-2. No
    intercept. It always ends: at a gap of `tol`, seen every `check_every` steps, or after `max_steps` steps.
    """

    name: str = option("jst", "which backend (set by svm=NAME)")
    tol: float = option(1e-3, "relative duality gap at which to stop", above=0)
    max_steps: int = option(10_000, "steps after which it stops, converged or not", at_least=1)
    check_every: int = option(50, "steps between two looks at the duality gap", at_least=1)

    def solve(self, K: Float[Tensor, "n n"], y: Float[Tensor, " n"]) -> Solution:
        """The dual vector b of w_t, scaled to be a hard-margin dual."""
        gram = SignedGram(K, y)
        n, signs = gram.n, gram.y.to(K.dtype)
        every = torch.arange(n, device=K.device)
        b, c, Qb, Qc = torch.zeros(4, n, dtype=torch.float64, device=K.device)
        f, step = Qb, 0
        for step in range(1, self.max_steps + 1):
            t = step - 1
            q = torch.softmax(-Qb, 0)
            # in K's own precision; the look below renews Qb in float64 before the errors add up
            Qq = (signs * torch.mv(K, signs * q.to(K.dtype))).to(torch.float64) / gram.scale
            beta = t / (t + 1)
            c, Qc = beta * (c + q), beta * (Qc + Qq)
            b, Qb = b + c + q, Qb + Qc + Qq
            if step % self.check_every == 0 or step == self.max_steps:
                f = Qb = gram.response(every, b)
                lower, upper = bracket(f, b)
                if upper == 0 or 1 - lower / upper <= self.tol:
                    break
        square = float(b @ f)
        unit = float(b.sum()) / square if square > 0 else 1.0
        return Solution(b * unit / gram.scale, 0.0, f"dual acceleration: {step} steps")
