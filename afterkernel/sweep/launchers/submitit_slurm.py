"""submitit on SLURM: each job one of an array, requeued after its time limit or a pre-emption, where it goes on."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afterkernel.errors import UserError
from afterkernel.options import option
from afterkernel.sweep.job import Outcome
from afterkernel.sweep.launchers.submitit_jobs import Ended, Running, SubmititLauncher, log, told_signal

if TYPE_CHECKING:
    from submitit import Executor

# SLURM looks at time limits every 30 s, so that its signal may come so much early, and a process must have begun then.
_EARLY_S = 45
# A shared file system may show a result this much later than SLURM says that the job has ended.
_LATE_S = 60.0
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


@dataclass
class SubmititSlurm(SubmititLauncher):
    """Jobs of a SLURM cluster, as arrays; the results' folder must be on a file system that its nodes share."""

    name: str = option("submitit_slurm", "which launcher (set by launcher=NAME)", decides=False)
    jobs: int | None = option(
        None, "jobs of the array at most at once; null leaves it to SLURM", at_least=1, at_most=100_000, decides=False
    )
    cpus: int | None = option(1, "CPUs, and CPU threads, a job", at_least=1, at_most=1024, decides=False)
    gpus: int | None = option(
        None, "GPUs a job, by --gpus-per-node; null asks for none", at_least=0, at_most=1024, decides=False
    )
    memory_gb: float | None = option(
        None, "memory a job; null is the partition's default", above=0, at_most=1e6, decides=False
    )
    partition: str | None = option(None, "partition; null is the cluster's default", decides=False)
    account: str | None = option(None, "account that is charged", decides=False)
    qos: str | None = option(None, "quality of service", decides=False)
    constraint: str | None = option(None, "features that a node must have", decides=False)
    sbatch: list[str] = option([], "further options of sbatch, such as ['gres=gpu:a100:1',exclusive]", decides=False)
    setup: list[str] = option(
        [], "shell commands before each job, such as ['module load cuda']", unique=False, decides=False
    )
    job_name: str = option("afterkernel", "name of the jobs in SLURM", decides=False)

    def check(self) -> None:
        """Raise UserError where SLURM's commands are missing or an option is not one of sbatch's."""
        super().check()
        for command in ("sbatch", "squeue", "scancel", "scontrol"):
            if shutil.which(command) is None:
                raise UserError(
                    f"launcher=submitit_slurm: there is no {command} on this machine; start the sweep where SLURM's "
                    "commands are, or use launcher=submitit_local."
                )
        for word in self.sbatch:
            if not re.fullmatch(r"[a-z][a-z-]*(=.+)?", word):
                raise UserError(
                    f"launcher.sbatch=[{word}] is not an option of sbatch: write NAME=VALUE, or NAME alone."
                )

    def _early_s(self) -> int:
        return _EARLY_S

    def _executor(self, folder: Path) -> Executor:
        from submitit import SlurmExecutor

        executor = SlurmExecutor(folder, max_num_timeout=self.max_requeues)
        wanted = {
            "job_name": self.job_name,
            "time": self.timeout_min,
            "signal_delay_s": self.signal_delay_s,
            "cpus_per_task": self.cpus,
            "gpus_per_node": self.gpus or None,
            "mem": None if self.memory_gb is None else f"{max(1, round(self.memory_gb * 1024))}M",
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "ntasks_per_node": 1,
            "array_parallelism": self.jobs or _largest_array(),
            "stderr_to_stdout": True,
            "setup": list(self.setup) or None,
            # Since SLURM 22.05 srun takes the CPUs from sbatch no more, and would leave a job one; and a job that is
            # requeued is not to write over its log.
            "srun_args": ["--open-mode=append", *([f"--cpus-per-task={self.cpus}"] if self.cpus else [])],
            "additional_parameters": {"requeue": True} | dict(map(_flag, self.sbatch)),
        }
        executor.update_parameters(**{name: value for name, value in wanted.items() if value is not None})
        return executor

    def _room(self, live: int) -> int:
        """One array at a time where there is a limit, since SLURM counts the jobs at once by array."""
        return 0 if live and self.jobs is not None else _largest_array()

    def _submit(self, executor: Executor, jobs: Sequence[Any], live: Sequence[Running]) -> list[Running]:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            with _outside_of_a_job():
                submitted = super()._submit(executor, jobs, live)
        except (FailedJobError, FailedSubmissionError) as error:
            told = " ".join(str(error).replace("sbatch: error:", "").split())
            raise UserError(f"launcher=submitit_slurm: sbatch refused the jobs: {told}") from error
        first = submitted[0].handle.job_id.partition("_")[0]
        log.info(
            "submitted %d jobs to SLURM as %s; logs in %s", len(submitted), first, submitted[0].handle.paths.folder
        )
        return submitted

    def _gone(self, live: Sequence[Running]) -> Mapping[str, Ended]:
        states = _states([running.handle.job_id for running in live])
        if states is None:
            return {}
        gone = {}
        for running in live:
            state, code = states.get(running.handle.job_id, ("", ""))
            if state not in _STATES_THAT_GO_ON and state not in _STATES_THAT_COME_BACK:
                never = running.cancelled and running.begun_s is None
                late_s = 0.0 if never else _LATE_S if state in ("", "COMPLETED") else 2.0
                gone[running.handle.job_id] = Ended(_how(state, code), late_s)
        return gone

    def _died(self, running: Running, ended: Ended) -> Outcome | None:
        return None if running.cancelled and running.begun_s is None else super()._died(running, ended)

    def _cancel_pending(self, live: Sequence[Running]) -> None:
        for running in live:
            running.cancelled = True
        _scancel(live, "--state=PENDING")

    def _cancel(self, live: Sequence[Running]) -> None:
        _scancel(live)


def _flag(word: str) -> tuple[str, str | bool]:
    name, equals, value = word.partition("=")
    return name, value if equals else True


def _scancel(live: Sequence[Running], *options: str) -> None:
    if live:
        ids = [running.handle.job_id for running in live]
        subprocess.run(["scancel", "--quiet", *options, *ids], check=False, capture_output=True)


def _states(ids: Sequence[str]) -> dict[str, tuple[str, str]] | None:
    """State and exit code of jobs, by id, for SLURM keeps ended ones for a while; None where it does not answer.

    Not by sacct, as submitit itself asks, since that needs accounting, which a cluster may lack.
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


def _how(state: str, code: str) -> str:
    """How a job ended that left no result."""
    if not state:
        return "SLURM knows it no longer, and it left no result"
    if state in _SENTENCES:
        return _SENTENCES[state]
    # squeue gives what wait() gave: the batch script's exit code, or 128 and more for a signal in it.
    status = os.waitstatus_to_exitcode(int(code)) if code.isdigit() else 0
    if status < 0 or status > 128:
        how = f"killed by {told_signal(-status if status < 0 else status - 128)}"
    else:
        how = f"exit code {status}"
    return f"its process ended without a result ({how}; SLURM's state is {state})"


def _largest_array() -> int:
    """How many jobs SLURM takes in one array."""
    answer = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False)
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", answer.stdout)
    return max(1, int(found[1]) - 1) if found else 1000


@contextlib.contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """A sweep that is itself started in a job of SLURM's does not hand down what that job was given."""
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
