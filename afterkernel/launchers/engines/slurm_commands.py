"""SLURM's commands: states of jobs, cancelling, limits of the cluster."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence

log = logging.getLogger(__name__)

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol")

_STATES_THAT_GO_ON = (
    "PENDING",
    "RUNNING",
    "SUSPENDED",
    "COMPLETING",
    "CONFIGURING",
    "RESIZING",
    "STAGE_OUT",
    "STOPPED",
)
_STATES_THAT_COME_BACK = ("REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "SIGNALING", "RESV_DEL_HOLD")
_SENTENCES = {
    "TIMEOUT": "SLURM killed it at its time limit, since it did not stop in the launcher.signal_delay_s before",
    "OUT_OF_MEMORY": "SLURM killed it, since it used more memory than it had requested; raise launcher.memory_gb",
    "CANCELLED": "it was cancelled in SLURM",
    "NODE_FAIL": "its node failed",
    "PREEMPTED": "SLURM pre-empted it and did not requeue it",
    "BOOT_FAIL": "its node did not start",
    "DEADLINE": "SLURM ended it at its deadline",
}


def is_over(state: str) -> bool:
    """Whether a job in this state has ended for good; "" is the state of a job that SLURM no longer lists."""
    return state not in _STATES_THAT_GO_ON and state not in _STATES_THAT_COME_BACK


def read_states(ids: Sequence[str]) -> dict[str, tuple[str, str]] | None:
    """State and exit code of jobs, by id; SLURM lists ended ones for a while. None if squeue fails.

    sacct, which submitit uses, needs accounting, which a cluster may not have.
    """
    arrays = sorted({job_id.partition("_")[0] for job_id in ids})
    columns = "ArrayJobID:20,ArrayTaskID:.20,State:.30,exit_code:.10"
    command = ["squeue", "--noheader", "--array", "--states=all", f"--user={getpass.getuser()}"]
    answer = subprocess.run(
        [*command, f"--jobs={','.join(arrays)}", f"--Format={columns}"], capture_output=True, text=True, check=False
    )
    if answer.returncode != 0 and "Invalid job id" not in answer.stderr:
        log.debug("squeue: %s", answer.stderr.strip())
        return None
    found = {}
    for line in answer.stdout.splitlines():
        array, task, state, code = line.split()
        found[array if task == "N/A" else f"{array}_{task}"] = (state, code)
    return found


def describe_end(state: str, code: str) -> str:
    """Why a job ended without a result, as part of a sentence."""
    if not state:
        return "SLURM no longer lists it, and it left no result"
    if state in _SENTENCES:
        return _SENTENCES[state]
    # squeue shows the status of wait(): the exit code of the batch script, or 128 plus the number of a signal.
    status = os.waitstatus_to_exitcode(int(code)) if code.isdigit() else 0
    if status < 0 or status > 128:
        how = f"killed by {_signal_name(-status if status < 0 else status - 128)}"
    else:
        how = f"exit code {status}"
    return f"its process ended without a result ({how}; SLURM's state is {state})"


def _signal_name(number: int) -> str:
    """The name of a signal, with its usual cause for SIGKILL."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"{name}, as the system does when memory is short" if number == signal.SIGKILL else name


def cancel(ids: Sequence[str], *options: str) -> None:
    """Cancel jobs."""
    if ids:
        subprocess.run(["scancel", "--quiet", *options, *ids], check=False, capture_output=True)


def largest_array() -> int:
    """The largest number of jobs in one array."""
    answer = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False)
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", answer.stdout)
    return max(1, int(found[1]) - 1) if found else 1000


@contextlib.contextmanager
def without_slurm_environment() -> Iterator[None]:
    """Hide the variables of a SLURM job, so that a sweep started in a job does not pass them on."""
    inherited = ("SLURM_", "SLURMD_", "SRUN_", "SBATCH_", "SUBMITIT_")
    hidden = {}
    if "SLURM_JOB_ID" in os.environ:
        hidden = {name: value for name, value in os.environ.items() if name.startswith(inherited)}
        hidden.pop("SLURM_CONF", None)
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)
