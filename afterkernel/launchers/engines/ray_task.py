"""The task that runs in a process of Ray: one job, with the environment of the driver."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from afterkernel.launchers.engines.slurm_task import run_restarted, set_threads
from afterkernel.launchers.job import Job, Outcome


def run_job(
    function: Callable[[Job], Outcome], job: Job, cpus: int, environment: Mapping[str, str], mark: str, attempt: int
) -> Outcome:
    """Run the job here; the file `mark` is created to show that it has started."""
    # Ray interrupts tasks by SIGINT, which a cluster started in the background of a shell ignores.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    set_threads(cpus)
    Path(mark).touch()
    return run_restarted(function, job) if attempt else function(job)
