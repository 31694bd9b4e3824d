"""Measurements in processes of their own: one that fails, or takes too long or too much, stops no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from side_by_side.cases import Case
from side_by_side.measure import OVERFLOW_SIGNS, Outcome
from side_by_side.methods import Method

STARTUP_S = 120.0  # for imports and the check, beyond the limit
KILLED = -9


def prepare(folder: Path, case: Case) -> Outcome:
    """Build the network and the images, and have our Gram matrices of a few images computed, to check peers by."""
    case.write(folder)
    return _run([sys.executable, "-m", "side_by_side.prepare"], "prepare", folder, case, STARTUP_S * 5)


def measure(method: Method, folder: Path, case: Case, limit_s: float, nt_python: str | None) -> Outcome:
    """Measure one method on a prepared case."""
    if method.in_jax:
        command = [nt_python or "python", "-m", "side_by_side.neural_tangents_peer"]
    else:
        command = [sys.executable, "-m", "side_by_side.torch_child"]
    outcome = _run(command, method.key, folder, case, limit_s + STARTUP_S)
    if outcome.status == "limit" or (outcome.seconds or 0) > limit_s:
        return Outcome("limit", says=f"> {limit_s:.0f} s")
    return outcome


def _run(command: list[str], task: str, folder: Path, case: Case, timeout_s: float) -> Outcome:
    here = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    threads = str(case.threads)
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "2", "JAX_TRACEBACK_FILTERING": "off"}  # so that an error comes last
    try:
        done = subprocess.run(
            [*command, task, str(folder)], env=environment, capture_output=True, text=True, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        return Outcome("limit")
    outcome = Outcome.read(folder, task)
    if done.returncode == 0 and outcome is not None:
        return outcome
    if done.returncode == KILLED or any(sign in done.stderr.lower() for sign in OVERFLOW_SIGNS):
        return Outcome("memory", says="out of memory")
    return Outcome("failed", says="failed", note=_reason(done))


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Why a process failed: what a signal did to it, or the last line of its complaint."""
    if done.returncode < 0:
        return f"ended by signal {signal.Signals(-done.returncode).name}"
    said = done.stderr.strip().splitlines()
    return said[-1] if said else f"ended with code {done.returncode}"
