"""What every SVM backend offers: options in, a dual solution out."""

from __future__ import annotations

from dataclasses import dataclass

from afterkernel.options import option
from afterkernel.svm.separability import Separability
from afterkernel.types import Float, Int, Tensor


@dataclass(frozen=True)
class Solution:
    """A backend's answer, not yet certified: w = sum_i dual_i y_i phi(x_i), with y in {-1, +1}.

    `dual` is non-negative, float64, one number a training sample. `intercept` is 0 where the backend has none. `path`
    says in a few words which method was taken and in how many steps. `ridge` is 0 for a hard-margin answer; a backend
    that finds no hard margin gives instead the hard-margin answer for K + ridge I, a soft-margin SVM. Where the
    margin is so small that rounding the dual to float64 would show in it, `rest` is what that leaves out. A backend
    that had to find out whether the data are separable hands on what it found as `separability`.
    """

    dual: Float[Tensor, " n"]
    intercept: float
    path: str
    ridge: float = 0.0
    rest: Float[Tensor, " n"] | None = None
    separability: Separability | None = None

    @property
    def soft(self) -> bool:
        """Whether the answer is that of a soft-margin SVM."""
        return self.ridge > 0


@dataclass
class Backend:
    """A hard-margin SVM solver in the dual, with its options; one subclass per file of this package.

    The subclass is found by the default of its `name`; its fields double as the structured configuration.
    """

    name: str = option("", "which backend (set by svm=NAME)")
    tol: float = option(1e-6, "relative duality gap at which a solution counts as converged", above=0, at_most=1)
    project: bool = option(
        False, "replace an indefinite K by the nearest positive semi-definite matrix, else refuse it"
    )

    @property
    def has_intercept(self) -> bool:
        """Whether this instance fits an intercept."""
        return False

    def check(self) -> None:
        """Raise UserError where the backend can't run here; called before any long work."""

    def solve(self, K: Float[Tensor, "n n"], y: Float[Tensor, " n"]) -> Solution:
        """Maximise the margin of the kernel K (symmetric positive semi-definite) for labels y in {-1, +1}."""
        raise TypeError(f"{type(self).__name__} does not say how to solve")

    def solve_from(self, K: Float[Tensor, "n n"], y: Float[Tensor, " n"], start: Int[Tensor, " k"]) -> Solution:
        """As `solve`, given samples that are likely to be the support; a backend without warm starts ignores it."""
        return self.solve(K, y)
