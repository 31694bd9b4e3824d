"""submitit on this machine: each job a process of its own, with a time limit after which it goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from afterkernel.errors import UserError
from afterkernel.options import option
from afterkernel.sweep.launchers.joblib import available_cores, visible_gpus
from afterkernel.sweep.launchers.submitit_jobs import Ended, Running, SubmititLauncher, told_signal

if TYPE_CHECKING:
    from submitit import Executor

# A process must have begun before it can hear the signal that comes before its time limit.
_START_S = 30


@dataclass
class SubmititLocal(SubmititLauncher):
    """Processes of this machine, at most `jobs` at once, started and watched by submitit."""

    name: str = option("submitit_local", "which launcher (set by launcher=NAME)", decides=False)
    jobs: int | None = option(2, "jobs at most at once; null starts all", at_least=1, at_most=100_000, decides=False)
    cpus: int | None = option(
        None,
        "CPU threads a job; null shares the machine's cores among the jobs at once",
        at_least=1,
        at_most=1024,
        decides=False,
    )
    gpus: int | None = option(
        None,
        "GPUs a job, other ones for each job at once; null shows every job all of them",
        at_least=0,
        at_most=1024,
        decides=False,
    )
    timeout_min: int = option(
        1440, "time limit of a job, which is then begun again and goes on", at_least=1, at_most=527_040, decides=False
    )
    signal_delay_s: int = option(
        30, "time before the limit at which a job receives the signal to stop", at_least=1, at_most=540, decides=False
    )
    poll_s: float = option(0.5, "time between two looks at the jobs", above=0, at_most=3600, decides=False)

    waits_for_processes: ClassVar[bool] = True

    def check(self) -> None:
        """Raise UserError where the jobs at once ask for more GPUs than there are."""
        super().check()
        if not self.gpus:
            return
        present = len(visible_gpus())
        if present < self.gpus:
            raise UserError(f"launcher.gpus={self.gpus}: this machine shows {present} GPUs; use launcher.gpus=null.")
        if self.jobs is None or self.jobs * self.gpus > present:
            raise UserError(
                f"launcher.gpus={self.gpus} with launcher.jobs={'null' if self.jobs is None else self.jobs}: this "
                f"machine shows {present} GPUs; use launcher.jobs={present // self.gpus}."
            )

    def _early_s(self) -> int:
        return _START_S

    def _executor(self, folder: Path) -> Executor:
        from afterkernel.sweep.engines.submitit_controller import executor

        return executor(folder, self.timeout_min, self.signal_delay_s, self.max_requeues)

    def _room(self, live: int) -> int:
        return 2**31 if self.jobs is None else self.jobs - live

    def _threads(self) -> int:
        cores = available_cores()
        return self.cpus or max(1, cores // min(cores, self.jobs or cores))

    def _devices(self, place: int) -> str | None:
        if self.gpus is None:
            return None
        return ",".join(visible_gpus()[place * self.gpus : (place + 1) * self.gpus])

    def _gone(self, live: Sequence[Running]) -> Mapping[str, Ended]:
        from afterkernel.sweep.engines.submitit_controller import process_of, read_exit

        codes = {running.handle.job_id: process_of(running.handle).poll() for running in live}
        return {
            running.handle.job_id: Ended(_how(read_exit(running.handle.paths.folder, running.handle.job_id)), 0.0)
            for running in live
            if codes[running.handle.job_id] is not None
        }

    def _cancel(self, live: Sequence[Running]) -> None:
        from afterkernel.sweep.engines.submitit_controller import process_of

        for running in live:
            running.handle.cancel()
        for running in live:
            process = process_of(running.handle)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _how(exit_code: str) -> str:
    """How a process ended that left no result."""
    if exit_code == "":
        return "the process that watches over it was killed"
    if exit_code == "None":
        return "it did not stop in the launcher.signal_delay_s before its time limit, and was killed"
    code = int(exit_code)
    if code >= 0:
        return f"its process ended without a result (exit code {code})"
    return f"its process was killed by {told_signal(-code)}"
