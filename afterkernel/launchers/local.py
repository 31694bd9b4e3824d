"""Runs on this machine, in worker processes: one after another, or several at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from afterkernel.launchers.job import Echo, Job
from afterkernel.launchers.launcher import Execute, JobEvents, Launcher, launcher_option

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Local(Launcher):
    """Runs on this machine; several at once divide its cores and GPUs among them."""

    what: ClassVar[str] = "processes of this machine, one after another or several at once"
    name: str = launcher_option("local", "which launcher (set by launcher=NAME)")
    processes: int = launcher_option(
        1, "number of runs at once, which share the cores and GPUs", at_least=1, at_most=1024
    )

    streams_output: ClassVar[bool] = True

    def launch(self, jobs: Sequence[Job], events: JobEvents, execute: Execute) -> None:
        """Run the jobs; each process takes one after the other."""
        from afterkernel.launchers.engines.worker_processes import run_in_processes

        echo: Echo = "plain" if self.processes == 1 else "named"
        run_in_processes(jobs, events, execute, self.environments(len(jobs)), echo)

    def environments(self, jobs: int) -> list[dict[str, str]]:
        """Environment variables of each process: its CPU threads and its GPU; a single process has all."""
        if self.processes == 1:
            return [{}]
        gpus, cores = visible_gpus(), available_cores()
        count = min(self.processes, max(jobs, 1))
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
