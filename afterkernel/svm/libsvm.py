"""The `libsvm` backend: sequential minimal optimisation, with an intercept."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch

from afterkernel.options import option
from afterkernel.svm.backend import Backend, Solution
from afterkernel.types import Float, Tensor


@dataclass
class LibSVM(Backend):
    """scikit-learn's SVC (C.-C. Chang and C.-J. Lin, "LIBSVM", 2011) on the kernel scaled to unit largest diagonal.

    Its kernel cache is float32, so that its gap has a floor of about 1e-5 whatever `stop_tol`. Where the data are not
    separable it runs until `max_iter`, and the certificate says undetermined. Memory: K once more, in float64.
    """

    name: str = option("libsvm", "which backend (set by svm=NAME)")
    tol: float = option(1e-3, "relative duality gap at which a solution counts as converged", above=0)
    C: float = option(1e6, "weight of the slacks, K scaled to unit largest diagonal; large for a hard margin", above=0)
    stop_tol: float = option(1e-5, "libsvm's own stopping tolerance, on the largest violation", above=0)
    max_iter: int = option(1_000_000, "iterations after which it stops, converged or not", at_least=1)

    has_intercept = True

    def solve(self, K: Float[Tensor, "n n"], y: Float[Tensor, " n"]) -> Solution:
        """Large-C SVM with intercept; the outcome of libsvm itself is told in `path` and believed by nobody."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import SVC

        scale = float(K.diagonal().max())
        scaled = K.to("cpu", torch.float64, copy=True).div_(scale).numpy()
        machine = SVC(kernel="precomputed", C=self.C, tol=self.stop_tol, max_iter=self.max_iter)
        with warnings.catch_warnings():
            # not converging is an outcome, and the certificate reports it
            warnings.simplefilter("ignore", ConvergenceWarning)
            machine.fit(scaled, y.cpu().numpy())
        dual = torch.zeros(len(K), dtype=torch.float64)
        signed = torch.from_numpy(machine.dual_coef_[0] / scale)
        support = torch.from_numpy(machine.support_).long()
        dual[support] = (signed * y.cpu()[support]).clamp_min(0)
        ended = "stopped at max_iter" if machine.fit_status_ else "ended"
        return Solution(
            dual, float(machine.intercept_[0]), f"libsvm {ended} after {int(machine.n_iter_[0])} iterations"
        )
