"""What a process of SLURM runs: one job, which a time limit interrupts so that it is requeued and goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from afterkernel.launchers.job import Job, Outcome

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

# How long a job that is run again waits for the lock of its killed predecessor to become stale.
STALE_WAIT_S = 300.0


@dataclass
class JobTask:
    """A job with what its process must set up, in plain data but for the function, which travels by its name.

    submitit signals a process shortly before its time limit. Work is then broken off as by Ctrl-C, so that it is left
    in order, and only then does submitit's own handler requeue this same task, which goes on from the last checkpoint.
    """

    function: Callable[[Job], Outcome]
    job: Job
    cpus: int
    timeout_min: int
    max_requeues: int

    def __call__(self) -> Outcome:
        """Run the job here. Ends the process instead where it was requeued."""
        from submitit.core.job_environment import JobEnvironment

        begun = time.monotonic()
        set_threads(self.cpus)
        warned, ending = False, False

        def warn(number: int, _frame: FrameType | None) -> None:
            nonlocal warned
            warned = True
            signal.signal(number, signal.SIG_IGN)
            raise KeyboardInterrupt

        def end(_number: int, _frame: FrameType | None) -> None:
            nonlocal ending
            ending = True

        requeue: Any = signal.signal(JobEnvironment._usr_sig(), warn)
        signal.signal(signal.SIGTERM, end)
        outcome, broken_off = None, None
        try:
            outcome = run_restarted(self.function, self.job) if _is_restart() else self.function(self.job)
        except KeyboardInterrupt as error:
            broken_off = error
        if outcome is not None and (outcome.state in ("finished", "skipped") or not (warned or ending)):
            return outcome
        if not warned:
            if ending:
                _await_end()
            raise broken_off or KeyboardInterrupt
        try:
            requeue(JobEnvironment._usr_sig(), None)
            reason = "and was not requeued"
        except Exception as error:
            reason = self._why_not(error)
        return Outcome(
            self.job.run_id,
            "failed",
            f"it reached its time limit of {self.timeout_min} min {reason}; the same command goes on from its last "
            "checkpoint, and launcher.timeout_min gives it longer",
            self.job.log,
            time.monotonic() - begun,
        )

    def checkpoint(self) -> DelayedSubmission:
        """What submitit stores to be run after requeueing: this same task, since a run goes on by itself."""
        from submitit.core.utils import DelayedSubmission

        return DelayedSubmission(self)

    def _why_not(self, error: Exception) -> str:
        from submitit.core.utils import UncompletedJobError

        if isinstance(error, UncompletedJobError):
            return f"once more after {self.max_requeues} requeues" if self.max_requeues else "(launcher.max_requeues=0)"
        return f"and could not be requeued ({' '.join(str(error).split())})"


def set_threads(cpus: int) -> None:
    """Take that many CPU threads in this process, and in those that it starts."""
    import torch

    os.environ["OMP_NUM_THREADS"] = str(cpus)
    torch.set_num_threads(cpus)


def run_restarted(function: Callable[[Job], Outcome], job: Job, wait_s: float = STALE_WAIT_S) -> Outcome:
    """Run a job whose process was killed before: its lock may count as alive for a while."""
    deadline = time.monotonic() + wait_s
    while (outcome := function(job)).state == "locked" and time.monotonic() < deadline:
        time.sleep(min(10.0, wait_s / 10))
    return outcome


def _await_end() -> None:
    """Wait for the end that SLURM has announced, by a pre-emption, a requeueing or a cancellation.

    What the signal broke off is not a failure of the run (Lightning ends training by an exit), and a job that ended by
    itself in its time of grace would not be requeued.
    """
    time.sleep(STALE_WAIT_S)


def _is_restart() -> bool:
    return int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0
