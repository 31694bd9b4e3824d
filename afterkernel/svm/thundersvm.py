"""The `thundersvm` backend: the ThunderSVM library, in a child process, on a factor of the kernel."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from afterkernel.errors import UserError
from afterkernel.options import option
from afterkernel.svm.backend import Backend, Solution, slack_weight
from afterkernel.svm.gram_factor import gram_factor
from afterkernel.svm.signed_gram import PRECISION
from afterkernel.types import Float, Int, Tensor

CHILD = Path(__file__).with_name("thundersvm_child.py")
LIBRARY = {"win32": "thundersvm.dll", "darwin": "libthundersvm.dylib"}.get(sys.platform, "libthundersvm.so")


@dataclass
class ThunderSVM(Backend):
    """ThunderSVM (Z. Wen et al., JMLR 19, 2018), with an intercept, in float32.

    The library reads `kernel="precomputed"` as an RBF kernel on the rows of the matrix. So it is given F with
    F F' = K, and a linear kernel. It may abort its process or not come back: so it runs in a child process, with a
    time limit, and only finite numbers are taken from it. Memory: K twice more, in float64.

    The package is one for CPU and GPU; what counts is the shared library that it loads. All are tried that
    `shared_libraries` finds, GPU builds first where there is a CUDA device, and `path` names the one that answered.
    """

    what: ClassVar[str] = "ThunderSVM in a process of its own, with an intercept"
    name: str = option("thundersvm", "which backend (set by svm=NAME)")
    tol: float = option(1e-3, "relative duality gap at which a solution counts as converged", above=0, at_most=1)
    C: float = slack_weight()
    stop_tol: float = option(1e-5, "the library's own stopping tolerance", above=0, at_most=1)
    max_iter: int = option(1_000_000, "iterations after which it stops, converged or not", at_least=1)
    timeout_s: float = option(
        600.0, "seconds after which the child process is stopped", above=0, at_most=1e7, affects_results=False
    )
    library: str = option(
        "", f"path of a {LIBRARY} to use, such as a GPU build (empty: look for one)", affects_results=False, redact=True
    )

    @property
    def has_intercept(self) -> bool:
        """It always fits an intercept."""
        return True

    def check(self) -> None:
        """Raise UserError if the package or the chosen library is missing."""
        if importlib.util.find_spec("thundersvm") is None:
            raise UserError(
                "the SVM backend thundersvm needs the package thundersvm: install it with pip install "
                "afterkernel[thundersvm]."
            )
        if self.library and not Path(self.library).is_file():
            raise UserError(f"library={self.library} is not a file: give the path of a {LIBRARY}, or leave it empty.")

    def solve(
        self, K: Float[Tensor, "n n"], y: Float[Tensor, " n"], start: Int[Tensor, " k"] | None = None
    ) -> Solution:
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
            signed, intercept, note = self._first_answer(place, len(signs))
        dual = torch.zeros(len(K), dtype=torch.float64)
        dual[torch.from_numpy(order)] = torch.from_numpy((signed * signs[order]).clip(min=0)) / scale
        return Solution(dual, intercept, f"thundersvm ({note}) on a factor of rank {factor.shape[1]}")

    def _first_answer(self, folder: Path, n: int) -> tuple[np.ndarray, float, str]:
        """The signed dual, the intercept and the library, from the first library that answers."""
        libraries = [self.library] if self.library else shared_libraries() or [""]
        failed = ""
        while True:
            library = libraries.pop(0)
            try:
                signed, intercept, note = self._answer(folder, n, library)
                return signed, intercept, note + failed
            except UserError as error:
                if not libraries:
                    raise
                failed += f", after {_words(library)} failed: {str(error).rpartition(': ')[0]}"

    def _answer(self, folder: Path, n: int, library: str) -> tuple[np.ndarray, float, str]:
        for name in ("signed.npy", "intercept.npy", "library.txt"):
            (folder / name).unlink(missing_ok=True)
        options = {"C": self.C, "tol": self.stop_tol, "max_iter": self.max_iter, "n_jobs": torch.get_num_threads()}
        (folder / "options.json").write_text(json.dumps({**options, "library": library}))
        self._run_child(folder)
        signed = self._read(folder / "signed.npy", (n,))
        intercept = self._read(folder / "intercept.npy", (1,))
        note = folder / "library.txt"
        return signed, float(intercept[0]), _words(note.read_text() if note.is_file() else "")

    def _run_child(self, folder: Path) -> None:
        # -P: the child's own folder holds a thundersvm.py, which must not hide the package
        command = [sys.executable, "-P", str(CHILD), str(folder)]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=self.timeout_s)
        except subprocess.TimeoutExpired:
            raise UserError(
                f"thundersvm did not end within timeout_s={self.timeout_s:g} seconds: raise it, or use the "
                "backend exact."
            ) from None
        if done.returncode != 0:
            errors = done.stderr.decode(errors="replace").strip().splitlines()
            raise UserError(
                f"thundersvm's process died with exit code {done.returncode}"
                f"{' (' + errors[-1].strip() + ')' if errors else ''}: use the backend exact or libsvm."
            )

    def _read(self, path: Path, shape: tuple[int, ...]) -> np.ndarray:
        if not path.is_file():
            raise UserError("thundersvm ended without an answer: use the backend exact or libsvm.")
        values: np.ndarray = np.load(path, allow_pickle=False)
        if values.shape != shape or not np.isfinite(values).all():
            raise UserError("thundersvm returned numbers that are not finite: use the backend exact or libsvm.")
        return values.astype(np.float64, copy=False)


def shared_libraries() -> list[str]:
    """Paths of ThunderSVM's library, those that suit this machine first.

    Searched for next to the installed package, in the build folder of a checkout that holds it, and on LD_LIBRARY_PATH.
    """
    spec = importlib.util.find_spec("thundersvm")
    package = [Path(folder) for folder in getattr(spec, "submodule_search_locations", None) or []]
    folders = [place for folder in package for place in (folder, folder / "../../build/lib")]
    folders += [Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if folder]
    found = dict.fromkeys(str((folder / LIBRARY).resolve()) for folder in folders if (folder / LIBRARY).is_file())
    on_gpu = torch.cuda.is_available()
    return sorted(found, key=lambda path: is_gpu_build(path) != on_gpu)


def is_gpu_build(path: str) -> bool:
    """Whether the library at `path` calls cuSPARSE, as every GPU build of ThunderSVM does."""
    return b"cusparse" in Path(path).read_bytes()


def _words(library: str) -> str:
    if not library or not Path(library).is_file():
        return "library unknown"
    return f"{'GPU' if is_gpu_build(library) else 'CPU'} build {library}"
