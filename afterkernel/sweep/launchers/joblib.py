"""Several runs at once on this machine: processes of joblib's engine, with the cores and GPUs divided among them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from afterkernel.options import option
from afterkernel.sweep.job import Job
from afterkernel.sweep.launchers.launcher import Launcher, Tell

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Joblib(Launcher):
    """Several runs at once on this machine."""

    name: str = option("joblib", "which launcher (set by launcher=NAME)", decides=False)
    processes: int | None = option(
        None,
        "runs at once; by default one a GPU, or one a core where there is none",
        at_least=1,
        at_most=1024,
        decides=False,
    )

    speaking: ClassVar[bool] = True

    def launch(self, jobs: Sequence[Job], tell: Tell) -> None:
        """Run the jobs, each process one after the other."""
        from afterkernel.sweep.launchers.processes import run_in_processes

        run_in_processes(jobs, tell, self.environments(len(jobs)), "named")

    def environments(self, jobs: int) -> list[dict[str, str]]:
        """The environment of each process: its number of CPU threads, and its GPU where there are any."""
        gpus, cores = visible_gpus(), available_cores()
        count = min(self.processes or len(gpus) or cores, max(jobs, 1))
        threads = str(max(1, cores // count))
        return [
            dict.fromkeys(THREADS, threads) | ({"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]} if gpus else {})
            for index in range(count)
        ]


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    count = torch.cuda.device_count()
    return named[:count] if named else [str(index) for index in range(count)]
