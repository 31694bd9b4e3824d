"""The `cuml` backend: the SVC of NVIDIA's cuML on a GPU, with or without an intercept."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from afterkernel.errors import UserError
from afterkernel.options import option
from afterkernel.svm.backend import Backend, Solution, slack_weight
from afterkernel.svm.mirror import fold, kernel_to_fit, labels_to_fit
from afterkernel.types import Float, Int, Tensor


@dataclass
class CuML(Backend):
    """cuML's SVC (sequential minimal optimisation in blocks) on the kernel scaled to unit largest diagonal.

    It takes precomputed kernels since 26.02, in K's own dtype, and always fits an intercept: without one it solves the
    mirrored problem, on 2n samples (`afterkernel.svm.mirror`). Memory on the GPU in addition to K: one matrix in K's
    dtype, of n^2 numbers with an intercept and 4 n^2 without, and a cache of 1 GB.
    """

    what: ClassVar[str] = "cuML's SVC on a GPU, with or without an intercept"
    name: str = option("cuml", "which backend (set by svm=NAME)")
    tol: float = option(1e-3, "relative duality gap at which a solution counts as converged", above=0, at_most=1)
    intercept: bool = option(False, "fit an intercept; without one, the problem is solved on twice the samples")
    C: float = slack_weight()
    stop_tol: float = option(1e-5, "cuML's own stopping tolerance", above=0, at_most=1)
    max_iter: int = option(100_000, "outer iterations after which it stops, converged or not", at_least=1)

    def check(self) -> None:
        """Raise UserError if there is no CUDA device or the package is missing."""
        install = "pip install afterkernel[gpu-svm]"
        if not torch.cuda.is_available():
            raise UserError(
                f"the SVM backend cuml needs a CUDA device, and torch finds none: use the backend exact, or {install} "
                "where there is one."
            )
        if importlib.util.find_spec("cuml") is None:
            raise UserError(f"the SVM backend cuml needs the package cuml: use {install}, or the backend exact.")

    def solve(
        self, K: Float[Tensor, "n n"], y: Float[Tensor, " n"], start: Int[Tensor, " k"] | None = None
    ) -> Solution:
        """Large-C SVM on the GPU. Raises UserError if cuML is missing, does not load, fails or returns NaN."""
        self.check()
        try:
            from cuml.svm import SVC
        except Exception as error:  # a broken CUDA library may raise any error
            raise UserError(f"cuML does not load ({_line(error)}): use the backend exact.") from error

        matrix, scale = kernel_to_fit(K, not self.intercept, K.dtype, K.device if K.is_cuda else _gpu())
        labels = labels_to_fit(y, not self.intercept)
        options = {"C": self.C, "tol": self.stop_tol, "max_iter": self.max_iter}
        with warnings.catch_warnings():
            # not converging is an outcome, and the certificate reports it
            warnings.simplefilter("ignore")
            try:
                # it reads columns; the matrix is symmetric, and its transpose is in that order without a copy
                machine = SVC(kernel="precomputed", output_type="numpy", **options).fit(matrix.T, labels.numpy())
            except Exception as error:  # out of memory, or a version without precomputed kernels
                raise UserError(f"cuML failed ({_line(error)}): use the backend exact.") from error
        support, coef, offset = (_host(machine, name) for name in ("support_", "dual_coef_", "intercept_"))
        if not (np.isfinite(coef).all() and np.isfinite(offset).all()):
            raise UserError("cuML returned numbers that are not finite: use the backend exact.")
        signed = torch.zeros_like(labels)
        signed[torch.from_numpy(support.astype(np.int64))] = torch.from_numpy(coef.astype(np.float64) / scale)
        steps = int(np.sum(np.asarray(getattr(machine, "n_iter_", 0))))
        return Solution(
            fold(signed, labels, len(K)),
            float(offset[0]) if self.intercept else 0.0,
            f"cuml{'' if self.intercept else ', mirrored'}: {steps} outer iterations",
        )


def _gpu() -> torch.device:
    return torch.device("cuda")


def _host(machine: Any, name: str) -> np.ndarray:
    """A fitted attribute as a flat array on the CPU, for any array type that cuML returns."""
    value = getattr(machine, name)
    return np.asarray(value.get() if hasattr(value, "get") else value).reshape(-1)


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
