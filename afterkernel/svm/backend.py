"""The base class of SVM backends: from options to a dual solution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from afterkernel.errors import UserError
from afterkernel.options import option
from afterkernel.svm.separability import Separability
from afterkernel.types import Float, Int, Tensor


@dataclass(frozen=True)
class Solution:
    """A backend's answer, not yet certified: w = sum_i dual_i y_i phi(x_i), with y in {-1, +1}.

    `dual` is non-negative, float64, one number per training sample. `intercept` is 0 where the backend has none. `path`
    names the method and its number of steps. `ridge` is 0 for a hard-margin answer; a backend that finds no hard margin
    gives instead the hard-margin answer for K + ridge I, a soft-margin SVM. Where the margin is so small that rounding
    the dual to float64 would show in it, `rest` is what that leaves out. `separability` is what the backend found out
    about whether the data are separable, if it had to.
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

    The subclass is found by the default of its `name`; its fields double as the structured configuration. It never
    judges its own answer: `HardMarginSVM` certifies the dual and derives the `Outcome` from that.
    """

    # What help says of it in one line; without it, the first sentence of the docstring.
    what: ClassVar[str] = ""

    name: str = option("", "which backend (set by svm=NAME)")
    tol: float = option(1e-6, "relative duality gap at which a solution counts as converged", above=0, at_most=1)
    project: bool = option(
        False, "replace an indefinite K by the nearest positive semi-definite matrix; false refuses it"
    )

    @property
    def has_intercept(self) -> bool:
        """Whether this instance fits an intercept: as its option `intercept` says, if it has one."""
        return bool(getattr(self, "intercept", False))

    def check(self) -> None:
        """Raise UserError where the backend can't run here; called before any long work."""

    def solve(
        self, K: Float[Tensor, "n n"], y: Float[Tensor, " n"], start: Int[Tensor, " k"] | None = None
    ) -> Solution:
        """Maximise the margin of the kernel K (symmetric positive semi-definite) for labels y in {-1, +1}.

        `start` holds samples that are likely to be the support; a backend without warm starts ignores it.
        """
        raise TypeError(f"{type(self).__name__} does not define solve")


def slack_weight() -> Any:
    """The option C of backends that approach the hard margin by a large weight of the slacks."""
    words = "weight of the slacks, with K scaled to a largest diagonal entry of 1; large for a hard margin"
    return option(1e6, words, at_least=1e-12, at_most=1e16)


def check_solution(backend: Backend, solution: object, n: int) -> None:
    """Raise UserError for what is no solution for n samples, as a plugin's backend may return."""
    given = f"svm={backend.name} gives"
    if not isinstance(solution, Solution):
        raise UserError(f"{given} {type(solution).__name__}, where a Solution belongs.")
    dual = solution.dual
    if dual.shape != (n,) or dual.dtype != torch.float64:
        shape, kind = tuple(dual.shape), str(dual.dtype).removeprefix("torch.")
        raise UserError(f"{given} a dual of shape {shape} in {kind}: it must be ({n},) in float64.")
    if not bool(((dual >= 0) & dual.isfinite()).all()):
        raise UserError(f"{given} a dual with a number that is negative or not finite: each must be at least 0.")
    if not math.isfinite(solution.intercept) or (solution.intercept != 0 and not backend.has_intercept):
        raise UserError(
            f"{given} the intercept {solution.intercept:g}, but its has_intercept is {backend.has_intercept}: an "
            "intercept must be finite, and 0 without has_intercept."
        )
