"""Soft-margin SVMs over a grid of C, each started from the last."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from afterkernel.errors import UserError
from afterkernel.svm.active_set import primal_dual
from afterkernel.svm.certificate import Certificate, certify
from afterkernel.svm.checks import check_kernel, check_labels
from afterkernel.svm.definite import definite
from afterkernel.svm.kernel_classifier import KernelExpansion, check_positive
from afterkernel.svm.search import Search
from afterkernel.svm.signed_gram import SignedGram
from afterkernel.svm.threads import one_thread
from afterkernel.types import Float, Int, Tensor

GRID = tuple(10.0**power for power in range(-1, 5))


class SoftMarginPath(KernelExpansion):
    """Soft-margin SVMs without intercept over a grid of C: minimise |w|^2 + (C / s) sum_i xi_i^2, s = max_i K_ii.

    Subject to y_i w.phi(x_i) >= 1 - xi_i. That is the hard margin of K + s / C I (N. Cristianini and J. Shawe-Taylor,
    "An introduction to support vector machines", 2000, section 6.1.2), which the method of the `exact` backend finds.
    After `fit`, in the order of `C`:

    - `dual_coefs_` (c, n): y_i a_i, float64; `K_test.double() @ dual_coefs_.T` are the decisions of all of them
    - `train_error_` (c,): fractions, with K itself; `n_support_` (c,): numbers of support vectors
    - `margin_` (c,): the largest margin of K + s / C I; `gap_` (c,): its duality gap; `certificates_`: all else
    - `loo_error_` (c,): the span rule's estimate of the leave-one-out error: what it would be if leaving out a sample
      took no other out of the support or into it (O. Chapelle, V. Vapnik, O. Bousquet and S. Mukherjee, "Choosing
      multiple parameters for support vector machines", Machine Learning 46, 2002)
    - `C_`: the one of least `loo_error_`, of those the smallest; `dual_coef_` (n,): its row of `dual_coefs_`
    - `converged_`: whether every gap is at most `tol`; `paths_`: the methods taken, in words

    Memory in addition to K, float64: three times the block of K on the support, which at small C is nearly all of
    it, and c n numbers.
    """

    dual_coefs_: Float[Tensor, "c n"]
    train_error_: Float[Tensor, " c"]
    n_support_: Int[Tensor, " c"]
    margin_: Float[Tensor, " c"]
    gap_: Float[Tensor, " c"]
    loo_error_: Float[Tensor, " c"]
    certificates_: list[Certificate]
    paths_: list[str]
    converged_: bool

    def __init__(self, C: Sequence[float] | np.ndarray = GRID, tol: float = 1e-6, max_steps: int = 30) -> None:
        check_positive("C", C)
        if not (math.isfinite(tol) and tol > 0):
            raise UserError(f"tol={tol:g} is not allowed: it must be a finite number greater than 0.")
        if max_steps < 1:
            raise UserError(f"max_steps={max_steps} is too small: it must be at least 1.")
        self.C, self.tol, self.max_steps = C, tol, max_steps

    @one_thread()
    def fit(self, K: Tensor | np.ndarray, y: Tensor | np.ndarray) -> SoftMarginPath:
        """Fit on the training kernel K (n, n), float32 or float64, and labels y (n,) in {0, 1}.

        Raises UserError for a K that is not a kernel matrix, and for labels that are not those of two classes.
        """
        K, _ = definite(check_kernel(K))
        signs = check_labels(y, K)
        grid = check_positive("C", self.C)
        scale = float(K.diagonal().max())
        found = dict[float, tuple[Float[Tensor, " n"], str, float]]()
        start: Int[Tensor, " k"] | None = None
        # from the fewest support vectors to the most, so that each start lies within the next answer
        for C in sorted(set(grid), reverse=True):
            gram = SignedGram(K, signs, ridge=1 / C)
            dual, path = _solve(gram, self.max_steps, start)
            start = dual.nonzero().squeeze(1)
            found[C] = dual, path, span_error(gram.block(start), dual[start] * scale, len(K))
        self.dual_coefs_ = torch.stack([found[C][0] * signs for C in grid])
        self.paths_ = [found[C][1] for C in grid]
        self.loo_error_ = torch.tensor([found[C][2] for C in grid], dtype=torch.float64)
        self.certificates_ = [certify(K, signs, found[C][0], ridge=scale / C) for C in grid]
        self.train_error_, self.margin_, self.gap_ = torch.tensor(
            [(each.train_error, each.margin, each.gap) for each in self.certificates_], dtype=torch.float64
        ).T
        self.n_support_ = torch.tensor([each.n_support for each in self.certificates_])
        self.converged_ = bool((self.gap_ <= self.tol).all())
        chosen = min(range(len(grid)), key=lambda place: (found[grid[place]][2], grid[place]))
        self.C_, self.dual_coef_ = grid[chosen], self.dual_coefs_[chosen]
        return self


def _solve(gram: SignedGram, max_steps: int, start: Int[Tensor, " k"] | None) -> tuple[Float[Tensor, " n"], str]:
    """The dual for K + ridge I, from the support `start` where it is given, and the methods taken."""
    search = Search(gram, max_steps)
    if start is not None:
        found, steps = primal_dual(gram, None, start, max_steps)
        if found is not None:
            return search.scattered(found)[0], f"active set: {steps} steps from the support at the next larger C"
    return search.scattered(search.run())[0], search.path


def span_error(Q: Float[Tensor, "k k"], a: Float[Tensor, " k"], n: int) -> float:
    """The span rule's leave-one-out error, a fraction of n samples, of whom k are the support; infinite if Q fails.

    With Q a = 1 on the support, y_i f_-i(x_i) = 1 - a_i / (Q^-1)_ii; the other samples keep y_i f_-i(x_i) >= 1.
    """
    factor, info = torch.linalg.cholesky_ex(Q)
    if int(info) != 0:
        return math.inf
    return float((1 - a / torch.cholesky_inverse(factor).diagonal() < 0).sum()) / n
