"""The `liblinear` backend: scikit-learn's LinearSVC on features, as the program of arXiv 2105.10585 had it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from afterkernel.options import option
from afterkernel.svm.backend import Backend, Solution
from afterkernel.svm.gram_factor import gram_factor
from afterkernel.svm.signed_gram import PRECISION
from afterkernel.types import Float, Int, Tensor

NEAR = 1e-2  # samples with y f below 1 + NEAR may be support vectors of a solution found to LinearSVC's tolerance
ROUNDS = 8
FLOOR = 1e-7  # a dual below this part of the largest is zero, to rounding


@dataclass
class LibLinear(Backend):
    """R.-E. Fan et al., "LIBLINEAR" (JMLR 9, 2008): LinearSVC(C=100, fit_intercept=False), by coordinate descent.

    Minimises |w|^2 / 2 + C sum_i max(0, 1 - y_i w.phi_i), each term squared with the squared hinge. The paper's program
    uses the squared hinge, whose minimum is the hard margin of K + I / (2 C): below the largest margin by an amount
    that depends on the scale of K, so that `path` records it. The hinge gives the hard margin once C exceeds all of its
    duals. The certificate says how far the answer is from the hard margin.

    As only K is known, the features are the rows of F with F F' = K, in K's own scale: the iterates are those on the
    embeddings themselves. LinearSVC returns only w; the dual is recovered from it, and `path` says how well it gives w
    back. Memory in addition to K, in units of its size in float64: 3 for F, 2 for liblinear's own copy of F, and 2
    for the dual, not all at a time.
    """

    what: ClassVar[str] = "scikit-learn's LinearSVC by coordinate descent, as in the paper's program"
    name: str = option("liblinear", "which backend (set by svm=NAME)")
    tol: float = option(1e-3, "relative duality gap at which a solution counts as converged", above=0, at_most=1)
    loss: str = option("squared_hinge", "loss of a sample inside the margin", choices=("squared_hinge", "hinge"))
    C: float = option(100.0, "weight of the losses, for K as it is (not rescaled)", at_least=1e-12, at_most=1e16)
    stop_tol: float = option(1e-4, "liblinear's own stopping tolerance", above=0, at_most=1)
    max_iter: int = option(1000, "passes over the samples after which it stops, converged or not", at_least=1)
    seed: int = option(0, "seed of the order in which samples are visited", at_least=0, at_most=2**31 - 1)

    def solve(
        self, K: Float[Tensor, "n n"], y: Float[Tensor, " n"], start: Int[Tensor, " k"] | None = None
    ) -> Solution:
        """SVM of weight C without intercept; `path` reports liblinear's own status, which is not used."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC

        scale, signs = float(K.diagonal().max()), y.to("cpu", torch.float64).numpy()
        features = gram_factor(K.to("cpu", torch.float64, copy=True).div_(scale).numpy(), PRECISION[K.dtype])
        features *= scale**0.5
        machine = LinearSVC(
            C=self.C,
            loss=self.loss,
            tol=self.stop_tol,
            max_iter=self.max_iter,
            random_state=self.seed,
            fit_intercept=False,
            dual=True,
        )
        with warnings.catch_warnings():
            # not converging is an outcome, and the certificate reports it
            warnings.simplefilter("ignore", ConvergenceWarning)
            machine.fit(features, signs)
        w = np.asarray(machine.coef_[0], dtype=np.float64)
        features *= signs[:, None]
        dual, error = recover_dual(features, w, 2 * self.C if self.loss == "squared_hinge" else 0.0)
        ended = "stopped at max_iter" if machine.n_iter_ >= self.max_iter else "ended"
        return Solution(
            torch.from_numpy(dual),
            0.0,
            f"liblinear, {self.loss}, C = {self.C:g}, largest norm {scale**0.5:.4g}, rank {features.shape[1]}: "
            f"{ended} after {machine.n_iter_} passes; dual gives w to {error:.0e}",
        )


def recover_dual(Z: np.ndarray, w: np.ndarray, weight: float) -> tuple[np.ndarray, float]:
    """A dual a >= 0 with Z'a near w (r,), for Z (n, r) the rows y_i phi_i; and |Z'a - w| / |w|.

    The better of two: `weight` max(0, 1 - Z w), which is the dual of the squared hinge at its minimum for weight 2 C
    (left out where 0); and least squares over the samples that may be support vectors, without those whose dual comes
    out at most 0.
    """
    norm = float(np.linalg.norm(w)) or 1.0
    found = [weight * np.maximum(1 - Z @ w, 0)] if weight else []
    near = np.arange(len(Z)) if Z.shape[1] == len(Z) else np.flatnonzero(Z @ w < 1 + NEAR)
    found.append(_nonnegative(Z, w, near))
    errors = [float(np.linalg.norm(Z.T @ a - w)) / norm for a in found]
    best = int(np.argmin(errors))
    return found[best], errors[best]


def _nonnegative(Z: np.ndarray, w: np.ndarray, near: np.ndarray) -> np.ndarray:
    a = np.zeros(0)
    for _ in range(ROUNDS):
        if len(near) == 0:
            break
        a = _least_squares(Z[near], w)
        keep = a > FLOOR * np.abs(a).max()
        near, a = near[keep], a[keep]
        if keep.all():
            break
    dual = np.zeros(len(Z))
    dual[near] = a
    return dual


def _least_squares(Z: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The a (k,) of least |Z'a - w|, of least norm among those, by a slightly ridged Gram matrix and refinement."""
    from scipy.linalg import cho_factor, cho_solve

    Q = Z @ Z.T
    Q.flat[:: len(Q) + 1] += 1e-12 * Q.diagonal().max()
    factor = cho_factor(Q, overwrite_a=True)
    a = np.zeros(len(Z))
    for _ in range(4):
        a += cho_solve(factor, Z @ (w - Z.T @ a))
    return a
