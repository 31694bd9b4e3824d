"""The `auto` backend: another backend, chosen by device, number of samples and what loads."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from afterkernel.errors import UserError
from afterkernel.memory import free_bytes
from afterkernel.options import option
from afterkernel.progress.work import Stage
from afterkernel.svm.backend import Backend, Solution
from afterkernel.svm.cuml import CuML
from afterkernel.svm.exact import Exact
from afterkernel.svm.jst import JST
from afterkernel.svm.libsvm import LibSVM
from afterkernel.types import Float, Int, Tensor


@dataclass
class Auto(Backend):
    """Chooses another backend; `path` says which and why.

    - `exact`, on CPU and GPU alike, where the device has 4 n^2 bytes free: the float64 block of half of the samples as
      support vectors, and its factor.
    - Else without an intercept `jst`, which needs only vectors of n numbers; with an intercept `cuml` where K lies on
      a GPU and cuML is there and loads, or `libsvm`.

    A package that is missing, or that does not load, is passed over.
    """

    what: ClassVar[str] = "another backend, chosen by device, number of samples and what is installed"
    name: str = option("auto", "which backend (set by svm=NAME)")
    intercept: bool = option(False, "fit an intercept")

    def solve(
        self, K: Float[Tensor, "n n"], y: Float[Tensor, " n"], start: Int[Tensor, " k"] | None = None
    ) -> Solution:
        """The answer of the first backend of `candidates` that is able to give one."""
        candidates = self.candidates(K)
        skipped = ""
        while True:
            backend, why = candidates.pop(0)
            # an error of exact is about K and concerns the user; one of cuml is about cuml
            failures = (torch.OutOfMemoryError, UserError) if isinstance(backend, CuML) else torch.OutOfMemoryError
            try:
                with Stage(backend.name):
                    solution = backend.solve(K, y, start)
                return replace(solution, path=f"auto chose {backend.name} ({why}{skipped}): {solution.path}")
            except failures as error:
                if not candidates:
                    raise
                skipped += f"; {backend.name} failed: {str(error).partition(chr(10))[0]}"

    def candidates(self, K: Float[Tensor, "n n"]) -> list[tuple[Backend, str]]:
        """The backends to try in their order, with the reason for each; the last needs no optional package."""
        needed, free = 4 * len(K) ** 2, free_bytes(K.device)
        found: list[tuple[Backend, str]] = []
        if free is None or needed <= free:
            found.append((Exact(tol=self.tol, intercept=self.intercept), f"n = {len(K)} on {K.device.type}"))
        why = f"{needed / 1e9:.1f} GB of working memory is more than is free"
        if not self.intercept:
            return [*found, (JST(tol=self.tol), why)]
        if K.is_cuda and importlib.util.find_spec("cuml") is not None:
            found.append((CuML(tol=self.tol, intercept=True), f"{why}; intercept, on a GPU"))
        return [*found, (LibSVM(tol=self.tol, intercept=True), f"{why}; intercept")]
