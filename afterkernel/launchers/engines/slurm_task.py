"""The task that runs in a process of SLURM: one job, which is requeued at its time limit and then continues."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from afterkernel.launchers.job import THREAD_VARIABLES, Job, Outcome

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

# How long a restarted job waits for the lock of its killed predecessor to become stale.
STALE_WAIT_S = 300.0


@dataclass
class JobTask:
    """A job, the function that runs it, and the settings of its process.

    submitit signals a process shortly before its time limit. The job is then interrupted as by Ctrl-C, and after that
    submitit's own handler requeues this task, which continues from the last checkpoint.
    """

    function: Callable[[Job], Outcome]
    job: Job
    cpus: int
    timeout_min: int
    max_requeues: int

    def __call__(self) -> Outcome:
        """Run the job here. If it is requeued, the process exits instead of returning."""
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
            f"it reached its time limit of {self.timeout_min} min {reason}; the same command continues from its "
            "last checkpoint, and a larger launcher.timeout_min gives it more time",
            self.job.log,
            time.monotonic() - begun,
        )

    def checkpoint(self) -> DelayedSubmission:
        """What submitit runs after requeueing: this same task, since a run continues from its files."""
        from submitit.core.utils import DelayedSubmission

        return DelayedSubmission(self)

    def _why_not(self, error: Exception) -> str:
        from submitit.core.utils import UncompletedJobError

        if isinstance(error, UncompletedJobError):
            return f"once more after {self.max_requeues} requeues" if self.max_requeues else "(launcher.max_requeues=0)"
        return f"and could not be requeued ({' '.join(str(error).split())})"


def set_threads(cpus: int) -> None:
    """Set the number of CPU threads of this process and of those that it starts."""
    os.environ |= dict.fromkeys(THREAD_VARIABLES, str(cpus))
    # Not imported here: that takes seconds, which a job that fails early does not need.
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(cpus)


def run_restarted(function: Callable[[Job], Outcome], job: Job, wait_s: float = STALE_WAIT_S) -> Outcome:
    """Run a job whose process was killed: its old lock may be valid for a while."""
    deadline = time.monotonic() + wait_s
    while (outcome := function(job)).state == "locked" and time.monotonic() < deadline:
        time.sleep(min(10.0, wait_s / 10))
    return outcome


def _await_end() -> None:
    """Wait until SLURM ends the process, after the signal of a pre-emption, a requeueing or a cancellation.

    The interrupted run has not failed (Lightning ends training by an exit), and a job that exits by itself before SLURM
    ends it would not be requeued.
    """
    time.sleep(STALE_WAIT_S)


def _is_restart() -> bool:
    return int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0
