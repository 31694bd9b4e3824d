"""Linear equations of an active set: Q_AA x + b y_A = r, y_A'x = r0, by one Cholesky factorisation or part of one."""

from __future__ import annotations

import torch

from afterkernel.svm.signed_gram import SignedGram
from afterkernel.svm.threads import threads_for
from afterkernel.types import Float, Int, Tensor

NEARBY = 8  # the factor of another active set is of use while fewer than one sample in so many differ
SMALLEST = 200  # below this size a factor of its own is as cheap


class Bordered:
    """Solves Q x + b y = r, y'x = r0 for a positive semi-definite float64 Q; without `signs` y, just Q x = r.

    With y'x known, Q may be replaced by Q + yy', which is definite if the equations have a unique solution; its
    Cholesky factor and the Schur complement of the border give x and b.
    """

    def __init__(self, factor: Float[Tensor, "k k"], signs: Float[Tensor, " k"] | None) -> None:
        self.factor, self.signs = factor, signs
        self.border = None if signs is None else self.apply(signs)

    @classmethod
    def of(
        cls,
        Q: Float[Tensor, "k k"],
        signs: Float[Tensor, " k"] | None,
        diagonal: Float[Tensor, " k"] | float = 0.0,
    ) -> Bordered | None:
        """The factor of Q + diagonal; None if that is not positive definite."""
        M = Q
        if signs is not None:
            M = Q + signs[:, None] * signs
        if not isinstance(diagonal, float) or diagonal:
            M = Q.clone() if M is Q else M
            M.diagonal().add_(diagonal)
        with threads_for(len(M)):
            factor, info = torch.linalg.cholesky_ex(M)
        return cls(factor, signs) if int(info) == 0 else None

    def solve(self, r: Float[Tensor, " k"], r0: float = 0.0) -> tuple[Float[Tensor, " k"], float]:
        """x and b."""
        if self.signs is None or self.border is None:
            return self.apply(r), 0.0
        x = self.apply(r + r0 * self.signs)
        b = (float(self.signs @ x) - r0) / float(self.signs @ self.border)
        return x - b * self.border, b

    def apply(self, r: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """The inverse of what was factored, applied to r."""
        return self.backward(self.forward(r))

    def forward(self, r: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """The inverse of the factor, applied to r; unlike torch.cholesky_solve this does not copy the factor."""
        x: Tensor = torch.linalg.solve_triangular(self.factor, r[:, None], upper=False)
        return x.squeeze(1)

    def backward(self, r: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """The inverse of the factor's transpose, applied to r."""
        x: Tensor = torch.linalg.solve_triangular(self.factor.T, r[:, None], upper=True)
        return x.squeeze(1)


class Equations:
    """The equations of the active set `active`, by a factor of its own."""

    def __init__(
        self, gram: SignedGram, active: Int[Tensor, " k"], Q: Float[Tensor, "b b"], bordered: Bordered
    ) -> None:
        self.gram, self.active, self.Q, self.bordered = gram, active, Q, bordered

    def product(self, x: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """Q_AA x."""
        return self.Q @ x

    def solve(self, r: Float[Tensor, " k"], r0: float) -> tuple[Float[Tensor, " k"], float]:
        """x and b."""
        return self.bordered.solve(r, r0)


class NearbyEquations(Equations):
    """The equations of A = B - R + E by the factor of B: x_R = 0 as equations more, with x_E and multipliers unknown.

    The Schur complement of Q_BB in the whole is small where B and A differ in few samples, so that this costs the
    solution of as many triangular equations in place of a new factor.
    """

    def __init__(self, base: Equations, active: Int[Tensor, " k"]) -> None:
        super().__init__(base.gram, active, base.Q, base.bordered)
        gram, device = base.gram, active.device
        place = torch.searchsorted(base.active, active).clamp_max(len(base.active) - 1)
        self.kept = base.active[place] == active
        self.at = place[self.kept]
        gone = torch.ones(len(base.active), dtype=torch.bool, device=device)
        gone[self.at] = False
        entering, removed = active[~self.kept], gone.nonzero().squeeze(1)
        self.e = len(entering)
        self.across, self.corner = gram.rectangle(entering, base.active), gram.block(entering)
        q = self.e + len(removed) + gram.intercept
        C = torch.zeros(len(base.active), q, dtype=torch.float64, device=device)
        D = torch.zeros(q, q, dtype=torch.float64, device=device)
        C[:, : self.e], D[: self.e, : self.e] = self.across.T, self.corner
        C[removed, self.e + torch.arange(len(removed), device=device)] = 1.0
        if gram.intercept:
            own, new = gram.y[base.active], gram.y[entering]
            C[:, : self.e] += own[:, None] * new
            D[: self.e, : self.e] += new[:, None] * new
            C[:, -1] = own
            D[: self.e, -1] = D[-1, : self.e] = new
        with threads_for(len(C)):
            self.half = torch.linalg.solve_triangular(base.bordered.factor, C, upper=False)
        self.lu = torch.linalg.lu_factor(D - self.half.T @ self.half)

    @staticmethod
    def close(base: Equations, active: Int[Tensor, " k"]) -> bool:
        """Whether so few samples differ that the factor of `base` saves time."""
        common = int(torch.isin(active, base.active).sum())
        return len(active) >= SMALLEST and (len(active) + len(base.active) - 2 * common) * NEARBY < len(active)

    def product(self, x: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """Q_AA x."""
        own = self._spread(x)
        out = torch.empty_like(x)
        out[self.kept] = (self.Q @ own + self.across.T @ x[~self.kept])[self.at]
        out[~self.kept] = self.across @ own + self.corner @ x[~self.kept]
        return out

    def solve(self, r: Float[Tensor, " k"], r0: float) -> tuple[Float[Tensor, " k"], float]:
        """x and b."""
        if self.gram.intercept:
            r = r + r0 * self.gram.y[self.active]
        u = self.bordered.forward(self._spread(r))
        rest = -(self.half.T @ u)
        rest[: self.e] += r[~self.kept]
        if self.gram.intercept:
            rest[-1] += r0
        z = torch.linalg.lu_solve(*self.lu, rest[:, None]).squeeze(1)
        x = torch.empty_like(r)
        x[self.kept], x[~self.kept] = self.bordered.backward(u - self.half @ z)[self.at], z[: self.e]
        return x, float(z[-1]) if self.gram.intercept else 0.0

    def _spread(self, x: Float[Tensor, " k"]) -> Float[Tensor, " b"]:
        own = torch.zeros(len(self.Q), dtype=x.dtype, device=x.device)
        own[self.at] = x[self.kept]
        return own
