"""The `thundersvm` backend: the ThunderSVM library, in a child process, on a factor of the kernel."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from afterkernel.errors import UserError
from afterkernel.options import option
from afterkernel.svm.backend import Backend, Solution
from afterkernel.svm.signed_gram import PRECISION
from afterkernel.types import Float, Tensor

CHILD = Path(__file__).with_name("thundersvm_child.py")


@dataclass
class ThunderSVM(Backend):
    """ThunderSVM (Z. Wen et al., JMLR 19, 2018), with an intercept, in float32.

    The library reads `kernel="precomputed"` as an RBF kernel on the rows of the matrix. So it is given F with
    F F' = K, and a linear kernel. It may abort its process or not come back: so it runs in a child process, with a
    time limit, and only finite numbers are taken from it. Memory: K twice more, in float64.
    """

    name: str = option("thundersvm", "which backend (set by svm=NAME)")
    tol: float = option(1e-3, "relative duality gap at which a solution counts as converged", above=0)
    C: float = option(1e6, "weight of the slacks, K scaled to unit largest diagonal; large for a hard margin", above=0)
    stop_tol: float = option(1e-5, "the library's own stopping tolerance", above=0)
    max_iter: int = option(1_000_000, "iterations after which it stops, converged or not", at_least=1)
    timeout_s: float = option(600.0, "seconds after which the child process is stopped", above=0, decides=False)

    has_intercept = True

    def check(self) -> None:
        """Raise UserError if the package is missing."""
        if importlib.util.find_spec("thundersvm") is None:
            raise UserError(
                "svm=thundersvm needs the package thundersvm: install it with pip install afterkernel[thundersvm]."
            )

    def solve(self, K: Float[Tensor, "n n"], y: Float[Tensor, " n"]) -> Solution:
        """Large-C SVM with intercept. Raises UserError if the package is missing, times out, crashes or returns NaN."""
        self.check()
        signs = y.cpu().numpy()
        scale = float(K.diagonal().max())
        # the library calls the first row's class +1
        order = np.argsort(-signs, kind="stable")
        factor = gram_factor(K.to("cpu", torch.float64, copy=True).div_(scale).numpy(), PRECISION[K.dtype])
        with tempfile.TemporaryDirectory(prefix="afterkernel-") as folder:
            place = Path(folder)
            np.save(place / "F.npy", factor[order])
            np.save(place / "y.npy", signs[order])
            options = {"C": self.C, "tol": self.stop_tol, "max_iter": self.max_iter, "n_jobs": torch.get_num_threads()}
            (place / "options.json").write_text(json.dumps(options))
            self._run_child(place)
            signed = self._read(place / "signed.npy", (len(signs),))
            intercept = self._read(place / "intercept.npy", (1,))
        dual = torch.zeros(len(K), dtype=torch.float64)
        dual[torch.from_numpy(order)] = torch.from_numpy((signed * signs[order]).clip(min=0)) / scale
        return Solution(dual, float(intercept[0]), f"thundersvm on a factor of rank {factor.shape[1]}")

    def _run_child(self, folder: Path) -> None:
        # -P: the child's own folder holds a thundersvm.py, which must not hide the package
        command = [sys.executable, "-P", str(CHILD), str(folder)]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=self.timeout_s)
        except subprocess.TimeoutExpired:
            raise UserError(
                f"thundersvm did not end within timeout_s={self.timeout_s:g} seconds: raise it, or use svm=exact."
            ) from None
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise UserError(
                f"thundersvm's process died with exit code {done.returncode}"
                f"{' (' + said[-1].strip() + ')' if said else ''}: use svm=exact or svm=libsvm."
            )

    def _read(self, path: Path, shape: tuple[int, ...]) -> np.ndarray:
        if not path.is_file():
            raise UserError("thundersvm ended without an answer: use svm=exact or svm=libsvm.")
        values: np.ndarray = np.load(path, allow_pickle=False)
        if values.shape != shape or not np.isfinite(values).all():
            raise UserError("thundersvm returned numbers that are not finite: use svm=exact or svm=libsvm.")
        return values.astype(np.float64, copy=False)


def gram_factor(K: np.ndarray, precision: float) -> np.ndarray:
    """F (n, r) with F F' = K, for K (n, n) float64 with unit largest diagonal.

    Cholesky with complete pivoting (LAPACK's dpstrf), up to where the remaining diagonal is below `precision`; where
    the result is further from K than that explains (K has negative eigenvalues), the eigenvectors of the positive ones.
    """
    from scipy.linalg import eigh
    from scipy.linalg.lapack import dpstrf

    n = len(K)
    packed, pivots, rank, _ = dpstrf(K, lower=1, tol=precision)
    pivots = pivots - 1
    factor = np.zeros((n, rank))
    factor[pivots] = np.tril(packed)[:, :rank]
    del packed
    probe = np.random.default_rng(0).standard_normal((n, 4))
    error = np.abs(factor @ (factor.T @ probe) - K @ probe).max()
    if error <= 100 * n**0.5 * precision:
        return factor
    values, vectors = eigh(K)
    positive = values > precision
    return np.ascontiguousarray(vectors[:, positive] * np.sqrt(values[positive]))
