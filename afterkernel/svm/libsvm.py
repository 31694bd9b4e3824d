"""The `libsvm` backend: sequential minimal optimisation, with or without an intercept."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import torch

from afterkernel.options import option
from afterkernel.svm.backend import Backend, Solution, slack_weight
from afterkernel.svm.mirror import fold, kernel_to_fit, labels_to_fit
from afterkernel.types import Float, Int, Tensor


@dataclass
class LibSVM(Backend):
    """scikit-learn's SVC (C.-C. Chang and C.-J. Lin, "LIBSVM", 2011) on the kernel scaled to unit largest diagonal.

    Without intercept it solves the mirrored problem, on 2n samples (`afterkernel.svm.mirror`). Its kernel cache is
    float32, so that its gap has a floor of about 1e-5 for any `stop_tol`. Where the data are not separable it runs
    until `max_iter`, and the certificate says undetermined. Memory in addition to K: libsvm reads a dense float64
    matrix, of 8 n^2 bytes with an intercept and 32 n^2 without, and has a cache of 200 MB.
    """

    what: ClassVar[str] = "scikit-learn's SVC, with or without an intercept"
    name: str = option("libsvm", "which backend (set by svm=NAME)")
    tol: float = option(1e-3, "relative duality gap at which a solution counts as converged", above=0, at_most=1)
    intercept: bool = option(True, "fit an intercept; without one, the problem is solved on twice the samples")
    C: float = slack_weight()
    stop_tol: float = option(1e-5, "libsvm's own stopping tolerance, on the largest violation", above=0, at_most=1)
    max_iter: int = option(1_000_000, "iterations after which it stops, converged or not", at_least=1)

    def solve(
        self, K: Float[Tensor, "n n"], y: Float[Tensor, " n"], start: Int[Tensor, " k"] | None = None
    ) -> Solution:
        """Large-C SVM; `path` reports libsvm's own status, which is not used."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import SVC

        matrix, scale = kernel_to_fit(K, not self.intercept, torch.float64, "cpu")
        labels = labels_to_fit(y, not self.intercept)
        machine = SVC(kernel="precomputed", C=self.C, tol=self.stop_tol, max_iter=self.max_iter)
        with warnings.catch_warnings():
            # not converging is an outcome, and the certificate reports it
            warnings.simplefilter("ignore", ConvergenceWarning)
            machine.fit(matrix.numpy(), labels.numpy())
        signed = torch.zeros_like(labels)
        signed[torch.from_numpy(machine.support_).long()] = torch.from_numpy(machine.dual_coef_[0] / scale)
        name = "libsvm" if self.intercept else "libsvm, mirrored,"
        ended = "stopped at max_iter" if machine.fit_status_ else "ended"
        return Solution(
            fold(signed, labels, len(K)),
            float(machine.intercept_[0]) if self.intercept else 0.0,
            f"{name} {ended} after {int(machine.n_iter_[0])} iterations",
        )
