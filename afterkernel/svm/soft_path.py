"""Soft-margin SVMs over a grid of C, each started from the last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from afterkernel.svm.active_set import primal_dual
from afterkernel.svm.certificate import Certificate, certify
from afterkernel.svm.definite import definite
from afterkernel.svm.kernel_classifier import KernelExpansion, check_number, check_positive, products
from afterkernel.svm.search import Search
from afterkernel.svm.signed_gram import SignedGram
from afterkernel.svm.threads import one_thread
from afterkernel.types import Float, Int, Tensor

GRID = tuple(10.0**power for power in range(-1, 5))


class SoftMarginPath(KernelExpansion):
    """Soft-margin SVMs without intercept over a grid of C: minimise |w|^2 + (C / s) sum_i xi_i^2, s = max_i K_ii.

    Subject to y_i w.phi(x_i) >= 1 - xi_i. That is the hard margin of K + s / C I (N. Cristianini and J. Shawe-Taylor,
    "An introduction to support vector machines", 2000, section 6.1.2), which the method of the `exact` backend finds.
    A `sample_weight` w in `fit` multiplies C for each sample: the hard margin is then that of K + s / C diag(w)^-1, and
    errors are weighted fractions. After `fit`, in the order of `C`:

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
        self.C, self.tol, self.max_steps = C, tol, max_steps

    @one_thread()
    def fit(self, K: Tensor | ArrayLike, y: Tensor | ArrayLike, sample_weight: Any = None) -> SoftMarginPath:
        """Fit on the training kernel K (n, n), float32 or float64, and labels y (n,) of two classes.

        `sample_weight` (n,): a factor of C for each sample, at least 0. Raises UserError for a K that is not a kernel
        matrix, for labels that are not those of two classes, and for what are no weights.
        """
        grid = check_positive("C", self.C)
        check_number("tol", self.tol, "a finite number greater than 0", least=math.ulp(0))
        check_number("max_steps", self.max_steps, "an integer of at least 1", least=1)
        data = self._training_data(K, y, sample_weight)
        matrix, _ = definite(data.K)
        problem = _Problem(matrix, data.signs, data.weights, int(self.max_steps))
        found = dict[float, _Answer]()
        start: Int[Tensor, " k"] | None = None
        # from the fewest support vectors to the most, so that each start lies within the next answer
        for C in sorted(set(grid), reverse=True):
            found[C] = problem.solve(C, start)
            start = found[C].dual.nonzero().squeeze(1)
        answers = [found[C] for C in grid]
        self.dual_coefs_ = torch.stack([problem.dual_coef(answer) for answer in answers])
        self.paths_ = [answer.path for answer in answers]
        self.loo_error_ = torch.tensor([answer.loo_error for answer in answers], dtype=torch.float64)
        self.certificates_ = [answer.certificate for answer in answers]
        self.margin_, self.gap_ = torch.tensor(
            [(each.margin, each.gap) for each in self.certificates_], dtype=torch.float64
        ).T
        self.train_error_ = problem.train_error(answers)
        self.n_support_ = torch.tensor([each.n_support for each in self.certificates_])
        self.converged_ = bool((self.gap_ <= self.tol).all())
        chosen = min(range(len(grid)), key=lambda place: (answers[place].loo_error, grid[place]))
        self.C_, self.dual_coef_ = grid[chosen], self.dual_coefs_[chosen]
        return self._fitted(K)


@dataclass(frozen=True)
class _Answer:
    """The dual at one C for the kernel K, its certificate, the methods taken, and the span rule's error."""

    dual: Float[Tensor, " k"]
    certificate: Certificate
    path: str
    loo_error: float


class _Problem:
    """Soft margins of one kernel and labels; samples of weight 0 are left out of it."""

    def __init__(
        self, K: Float[Tensor, "n n"], signs: Float[Tensor, " n"], weights: Float[Tensor, " n"] | None, max_steps: int
    ) -> None:
        self.n, self.max_steps, self.scale = len(K), max_steps, float(K.diagonal().max())
        self.kept: Int[Tensor, " k"] | None = None
        if weights is not None and not bool((weights > 0).all()):
            self.kept = (weights > 0).nonzero().squeeze(1)
            K, signs, weights = K[self.kept][:, self.kept].contiguous(), signs[self.kept], weights[self.kept]
        self.K, self.signs, self.weights = K, signs, weights

    def solve(self, C: float, start: Int[Tensor, " k"] | None) -> _Answer:
        """The answer at C, from the support `start` where it is given."""
        # s is that of all samples: leaving one out by a weight of 0 does not change what C means
        relative = self.scale / float(self.K.diagonal().max()) / C
        gram = SignedGram(self.K, self.signs, ridge=relative, weights=self.weights)
        dual, path = _solve(gram, self.max_steps, start)
        certificate = certify(self.K, self.signs, dual, ridge=self.scale / C, weights=self.weights)
        support = dual.nonzero().squeeze(1)
        weights = None if self.weights is None else self.weights[support]
        wrong = span_error(gram.block(support), dual[support] * gram.scale, weights)
        total = len(self.K) if self.weights is None else float(self.weights.sum())
        return _Answer(dual, certificate, path, wrong / total)

    def dual_coef(self, answer: _Answer) -> Float[Tensor, " n"]:
        """y_i a_i of all samples."""
        coef = answer.dual * self.signs
        if self.kept is None:
            return coef
        return torch.zeros(self.n, dtype=torch.float64, device=coef.device).index_copy(0, self.kept, coef)

    def train_error(self, answers: list[_Answer]) -> Float[Tensor, " c"]:
        """The weighted fractions of wrong training samples."""
        if self.weights is None:
            return torch.tensor([answer.certificate.train_error for answer in answers], dtype=torch.float64)
        f = products(self.K, torch.stack([answer.dual * self.signs for answer in answers], 1))
        wrong = ((f > 0) != (self.signs > 0)[:, None]).double()
        return (self.weights @ wrong / self.weights.sum()).cpu()


def _solve(gram: SignedGram, max_steps: int, start: Int[Tensor, " k"] | None) -> tuple[Float[Tensor, " n"], str]:
    """The dual for K + ridge I, from the support `start` where it is given, and the methods taken."""
    search = Search(gram, max_steps)
    if start is not None:
        found, steps = primal_dual(gram, None, start, max_steps)
        if found is not None:
            return search.scattered(found)[0], f"active set: {steps} steps from the support at the next larger C"
    return search.scattered(search.run())[0], search.path


def span_error(Q: Float[Tensor, "k k"], a: Float[Tensor, " k"], weights: Float[Tensor, " k"] | None = None) -> float:
    """The span rule's number, or total weight, of samples that are wrong when left out; infinite if Q fails.

    With Q a = 1 on the support, y_i f_-i(x_i) = 1 - a_i / (Q^-1)_ii; the other samples keep y_i f_-i(x_i) >= 1.
    """
    factor, info = torch.linalg.cholesky_ex(Q)
    if int(info) != 0:
        return math.inf
    wrong = (1 - a / torch.cholesky_inverse(factor).diagonal() < 0).double()
    return float(wrong.sum() if weights is None else weights @ wrong)
