"""SLURM's own commands: the states of jobs, cancelling, and limits of the cluster."""

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
    "OUT_OF_MEMORY": "SLURM killed it, since it took more memory than it had asked for; raise launcher.memory_gb",
    "CANCELLED": "it was cancelled in SLURM",
    "NODE_FAIL": "its node failed",
    "PREEMPTED": "SLURM pre-empted it and did not requeue it",
    "BOOT_FAIL": "its node did not start",
    "DEADLINE": "SLURM ended it at its deadline",
}


def is_over(state: str) -> bool:
    """Whether a job in this state will not run again by itself; "" is the state of one that SLURM has forgotten."""
    return state not in _STATES_THAT_GO_ON and state not in _STATES_THAT_COME_BACK


def read_states(ids: Sequence[str]) -> dict[str, tuple[str, str]] | None:
    """State and exit code of jobs, by id; SLURM keeps ended ones for a while. None if it does not answer.

    Not by sacct, as submitit itself asks: that needs accounting, which a cluster may lack.
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
    """How a job ended that left no result, in words."""
    if not state:
        return "SLURM knows it no longer, and it left no result"
    if state in _SENTENCES:
        return _SENTENCES[state]
    # squeue gives what wait() gave: the batch script's exit code, or 128 and more for a signal in it.
    status = os.waitstatus_to_exitcode(int(code)) if code.isdigit() else 0
    if status < 0 or status > 128:
        how = f"killed by {_signal_name(-status if status < 0 else status - 128)}"
    else:
        how = f"exit code {status}"
    return f"its process ended without a result ({how}; SLURM's state is {state})"


def _signal_name(number: int) -> str:
    """A signal by its name, with what usually sends it if that is not a person."""
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
    """How many jobs SLURM takes in one array."""
    answer = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False)
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", answer.stdout)
    return max(1, int(found[1]) - 1) if found else 1000


@contextlib.contextmanager
def without_slurm_environment() -> Iterator[None]:
    """A sweep that is itself started in a job of SLURM does not pass on what that job was given."""
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
