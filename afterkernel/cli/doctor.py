"""doctor: check whether each SVM backend works here."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from afterkernel.cli import CommandParser
from afterkernel.exit_codes import ExitCode
from afterkernel.text import print_table

if TYPE_CHECKING:
    from afterkernel.types import Float, Int, Tensor

REQUIRED = "exact"
OPTIONAL_PACKAGES = ("numpy", "scikit-learn", "hydra-core", "pytorch-lightning", "wandb", "thundersvm-cpu")
TIMEOUT_S = 60.0
# Options of a backend other than its defaults: liblinear's own are a soft margin, some per cent below the known answer.
OPTIONS: dict[str, dict[str, Any]] = {"liblinear": {"loss": "hinge"}, "thundersvm": {"timeout_s": TIMEOUT_S}}


@dataclass(frozen=True)
class CheckResult:
    """The result of one check: a backend with its errors, or a version. `advice` is empty if there is no problem."""

    name: str
    ok: bool
    required: bool = False
    margin_error: float | None = None
    gap: float | None = None
    wall_s: float | None = None
    advice: str = ""


def known_problem(pairs: int = 20) -> tuple[Float[Tensor, "n n"], Int[Tensor, " n"], float]:
    """K, y and the largest margin, which is the same with and without an intercept.

    Sample i is (r_i e_i, y_i / 2), e_i orthonormal, and each r_i occurs once in both classes: so by symmetry the
    intercept is 0, and the margin is the norm of the smallest convex combination of (y_i r_i e_i, 1/2), whose square is
    1/4 + 1 / sum_i r_i^-2.
    """
    import torch

    radii = torch.linspace(0.5, 1.0, pairs, dtype=torch.float64).repeat(2)
    y = torch.arange(2 * pairs) // pairs
    signs = 2 * y.double() - 1
    return torch.diag(radii**2) + torch.outer(signs, signs) / 4, y, math.sqrt(0.25 + 1 / float((radii**-2).sum()))


def check_backend(name: str) -> CheckResult:
    """Run one backend on `known_problem`; its margin must be right within its tolerance."""
    from afterkernel.svm import HardMarginSVM

    K, y, margin = known_problem()
    begin = time.perf_counter()
    try:
        machine = HardMarginSVM(name, **OPTIONS.get(name, {})).fit(K, y)
    except Exception as error:  # one broken library must not hide the others
        return CheckResult(name, False, name == REQUIRED, wall_s=time.perf_counter() - begin, advice=str(error))
    wall_s = time.perf_counter() - begin
    off = abs(machine.margin_ - margin) / margin
    ok = machine.converged_ and off <= machine.backend_.tol and bool((machine.predict(K) == y).all())
    advice = "" if ok else f"wrong answer ({machine.path_}): do not use svm={name} on this machine"
    return CheckResult(name, ok, name == REQUIRED, off, machine.gap_, wall_s, advice)


def check() -> list[CheckResult]:
    """Every backend, then the versions of Python, torch and what the rest of the project uses."""
    import torch

    from afterkernel.svm import BACKENDS

    rows = [check_backend(name) for name in sorted(BACKENDS, key=lambda name: (name != REQUIRED, name))]
    rows.append(CheckResult(f"python {platform.python_version()}", True))
    rows.append(CheckResult(f"torch {torch.__version__}", True))
    if torch.cuda.is_available():
        rows.append(CheckResult(f"cuda {torch.version.cuda}: {torch.cuda.get_device_name()}", True))
    else:
        rows.append(CheckResult("cuda", False, advice="no GPU seen by torch: everything runs on the CPU"))
    for package in OPTIONAL_PACKAGES:
        try:
            rows.append(CheckResult(f"{package} {importlib.metadata.version(package)}", True))
        except importlib.metadata.PackageNotFoundError:
            rows.append(CheckResult(package, False, advice=f"not installed: pip install {package}"))
    return rows


def main(argv: Sequence[str]) -> int:
    """`doctor`: print the rows as a table; the exit code is 0 if the required backend is right."""
    CommandParser("doctor", "Check each SVM backend on a problem with a known answer.", "doctor").parse_args(argv)
    rows = check()
    lines = []
    for row in rows:
        mark = "ok" if row.ok else "FAIL" if row.required else "no"
        wall = "" if row.wall_s is None else f"{row.wall_s:.2f}"
        lines.append((mark, row.name, _number(row.margin_error), _number(row.gap), wall, row.advice))
    print_table(["", "name", "margin error", "gap", "seconds", "what to do"], lines)
    return ExitCode.DONE if all(row.ok for row in rows if row.required) else ExitCode.FAILED


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"
