"""Linear equations of an active set: Q_AA x + b y_A = 1, y_A'x = 0, by one Cholesky factorisation."""

from __future__ import annotations

import torch

from afterkernel.types import Float, Tensor


class Bordered:
    """Solves Q x + b y = r, y'x = r0 for a positive semi-definite float64 Q; without `signs` y, just Q x = r.

    With y'x known, Q may stand as Q + yy', which is definite wherever the equations have one solution; its Cholesky
    factor and the Schur complement of the border give x and b.
    """

    def __init__(self, factor: Float[Tensor, "k k"], signs: Float[Tensor, " k"] | None) -> None:
        self.factor, self.signs = factor, signs
        self.border = None if signs is None else self._apply(signs)

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
        factor, info = torch.linalg.cholesky_ex(M)
        return cls(factor, signs) if int(info) == 0 else None

    def solve(self, r: Float[Tensor, " k"], r0: float = 0.0) -> tuple[Float[Tensor, " k"], float]:
        """x and b."""
        if self.signs is None or self.border is None:
            return self._apply(r), 0.0
        x = self._apply(r + r0 * self.signs)
        b = (float(self.signs @ x) - r0) / float(self.signs @ self.border)
        return x - b * self.border, b

    def _apply(self, r: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        return torch.cholesky_solve(r[:, None], self.factor).squeeze(1)
