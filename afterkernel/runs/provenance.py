"""The origin of a record: versions, commit, device, hashes of the data."""

from __future__ import annotations

import contextlib
import functools
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afterkernel.plugins import described

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "scikit-learn", "numpy")


@functools.cache
def versions() -> dict[str, str]:
    """Versions of this package, of Python and of the packages that numbers depend on; absent ones are left out."""
    found = {"python": platform.python_version()}
    for name in ("afterkernel", *PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@functools.cache
def git_commit() -> str | None:
    """The commit of the git checkout of this package, with -dirty if it was changed; None outside a checkout."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


@functools.cache
def cpu_model() -> str:
    """The model of the CPU as the system calls it, on which the last digits of numbers depend; empty if unknown."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, model = line.partition(":")
            if name.strip() == "model name":
                return " ".join(model.split())
    return platform.processor()


def device_name(device: torch.device) -> str:
    """A description of the device."""
    import torch  # Imported here, since reports need versions and commits without torch.

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"


def provenance(data_sha256: str, snapshot_sha256: str) -> dict[str, Any]:
    """The origin of a record, apart from commit and device, as plain data."""
    import torch

    return {
        "versions": versions(),
        "cpu": cpu_model(),
        # Many CPUs share a model name, "AMD EPYC" for one, and differ in the instructions that torch uses.
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "plugins": described(),
        "data_sha256": data_sha256,
        "snapshot_sha256": snapshot_sha256,
        "command": " ".join(["python", "-m", "afterkernel", *sys.argv[1:]]),
    }
