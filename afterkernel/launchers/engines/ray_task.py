"""What a process of Ray's runs: one job, after setting up what the driver's environment held."""

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
    """Run the job here, and leave the file `mark` as a sign that it has begun."""
    # A cluster started in a shell's background ignores Ctrl-C's signal, by which Ray stops a task in order.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    set_threads(cpus)
    Path(mark).touch()
    return run_restarted(function, job) if attempt else function(job)
