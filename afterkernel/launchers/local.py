"""Runs on this machine, in worker processes: one after another, or several at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from afterkernel.launchers.job import THREAD_VARIABLES, Job
from afterkernel.launchers.launcher import Execute, JobEvents, Launcher, launcher_option

# What a run on a small data set takes, torch included; larger ones need launcher.processes=NUMBER.
_BYTES_A_PROCESS = 2 * 1024**3


@dataclass
class Local(Launcher):
    """Runs on this machine; several at once divide its cores and GPUs among them."""

    what: ClassVar[str] = "processes of this machine, one after another or several at once"
    name: str = launcher_option("local", "which launcher (set by launcher=NAME)")
    processes: Any = launcher_option(
        1,
        "number of runs at once, which share the cores and GPUs; auto: one per usable core, or per GPU where there are "
        "any, and at most one per 2 GiB of free memory",
        at_least=1,
        at_most=1024,
        alternative="auto",
    )

    def launch(self, jobs: Sequence[Job], events: JobEvents, execute: Execute) -> None:
        """Run the jobs; each process takes one after the other."""
        from afterkernel.launchers.engines.worker_processes import run_in_processes

        run_in_processes(jobs, events, execute, self.environments(len(jobs)))

    def describe(self, jobs: int) -> str:
        """The number of runs at a time."""
        at_once = self._at_once(jobs)
        if at_once > 1:
            return f"launcher={self.name}, {at_once} runs at a time"
        more = " (launcher.processes=auto for more)" if self.processes == 1 and jobs > 1 else ""
        return f"launcher={self.name}, one run at a time{more}"

    def environments(self, jobs: int) -> list[dict[str, str]]:
        """Environment variables of each process: its CPU threads and its GPU; a single process has all."""
        count = self._at_once(jobs)
        if count == 1:
            return [{}]
        gpus, threads = visible_gpus(), str(max(1, available_cores() // count))
        return [
            dict.fromkeys(THREAD_VARIABLES, threads)
            | ({"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]} if gpus else {})
            for index in range(count)
        ]

    def _at_once(self, jobs: int) -> int:
        wanted = _most_at_once() if self.processes == "auto" else int(self.processes)
        return min(wanted, max(jobs, 1))


def _most_at_once() -> int:
    """Processes that this machine has room for, at least 1."""
    import torch

    from afterkernel.memory import free_bytes

    most = min(available_cores(), len(visible_gpus()) or available_cores())
    free = free_bytes(torch.device("cpu"))
    return most if free is None else max(1, min(most, free // _BYTES_A_PROCESS))


def available_cores() -> int:
    """Cores that this process may use: by its affinity, and by the CPU limit of its container (cgroup)."""
    from joblib import cpu_count

    return int(cpu_count())


def visible_gpus() -> list[str]:
    """GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    count = torch.cuda.device_count()
    return named[:count] if named else [str(index) for index in range(count)]
