"""SLURM, through submitit: jobs are submitted as arrays, and continue after a time limit or a pre-emption."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import re
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from afterkernel.errors import UserError
from afterkernel.launchers.engines import slurm_commands
from afterkernel.launchers.engines.slurm_task import JobTask
from afterkernel.launchers.interrupt import interrupted_once
from afterkernel.launchers.job import Job, Outcome
from afterkernel.launchers.launcher import Execute, JobEvents, Launcher, launcher_option

if TYPE_CHECKING:
    from submitit import Executor
    from submitit import Job as Handle

log = logging.getLogger(__name__)

# Below the sweep's folder, hidden, so that it is not taken for a run.
FOLDER = ".submitit"
# SLURM checks time limits every 30 s, so its signal may come this early, when the process must have started.
EARLY_S = 45
# A shared file system may show a result this long after the job has ended for SLURM.
LATE_S = 60.0


@dataclass
class SubmittedJob:
    """A submitted job, when its start and end were first seen, and whether it was cancelled."""

    job: Job
    handle: Handle[Outcome]
    started_s: float | None = None
    ended_s: float | None = None
    cancelled: bool = False

    @property
    def never_started(self) -> bool:
        """Whether it was cancelled before it started."""
        return self.cancelled and self.started_s is None

    def failed(self, reason: str) -> Outcome:
        """The outcome of a job that did not return one."""
        wall_s = 0.0 if self.started_s is None else time.monotonic() - self.started_s
        return Outcome(self.job.run_id, "failed", f"{reason}; see {self.handle.paths.stdout}", self.job.log, wall_s)


@dataclass
class Slurm(Launcher):
    """Jobs of a SLURM cluster, as arrays; the results' folder must be on a file system that its nodes share."""

    what: ClassVar[str] = "jobs of a SLURM cluster, by submitit"
    name: str = launcher_option("slurm", "which launcher (set by launcher=NAME)")
    jobs: int | None = launcher_option(
        None, "largest number of jobs at once; null leaves it to SLURM", at_least=1, at_most=100_000
    )
    cpus: int = launcher_option(1, "CPUs, and CPU threads, per job", at_least=1, at_most=1024)
    gpus: int | None = launcher_option(
        None, "GPUs per job, by --gpus-per-node; null requests none", at_least=0, at_most=1024
    )
    memory_gb: float | None = launcher_option(
        None, "memory per job; null is the partition's default", above=0, at_most=1e6
    )
    timeout_min: int = launcher_option(
        60, "time limit of a job, which is then requeued and continues", at_least=1, at_most=527_040
    )
    signal_delay_s: int = launcher_option(
        90,
        "seconds before the limit at which a job receives the signal to stop; it must save its state in this time",
        at_least=1,
        at_most=540,  # above 10 minutes submitit mistakes time limits for pre-emptions, and does not count requeues
        affects_results=False,
    )
    max_requeues: int = launcher_option(10, "times that a job is requeued after its time limit", at_least=0)
    poll_s: float = launcher_option(2.0, "seconds between two checks of the jobs", above=0, at_most=3600)
    partition: str | None = launcher_option(None, "partition; null is the cluster's default")
    account: str | None = launcher_option(None, "account to charge")
    qos: str | None = launcher_option(None, "quality of service")
    constraint: str | None = launcher_option(None, "features that a node must have")
    sbatch: list[str] = launcher_option([], "other options of sbatch, such as ['gres=gpu:a100:1',exclusive]")
    setup: list[str] = launcher_option([], "shell commands before each job, such as ['module load cuda']", unique=False)
    job_name: str = launcher_option("afterkernel", "name of the jobs in SLURM")

    def check(self) -> None:
        """Raise UserError where submitit or SLURM is missing, or an option can't work."""
        if importlib.util.find_spec("submitit") is None:
            raise UserError(
                "launcher=slurm: submitit is not installed; pip install 'afterkernel[slurm]', or use launcher=local."
            )
        longest_s = 60 * self.timeout_min - EARLY_S
        if self.signal_delay_s > longest_s:
            raise UserError(
                f"launcher.signal_delay_s={self.signal_delay_s} leaves no time of launcher.timeout_min="
                f"{self.timeout_min}: it must be at most {longest_s}."
            )
        for command in slurm_commands.COMMANDS:
            if shutil.which(command) is None:
                raise UserError(
                    f"launcher=slurm: the command {command} was not found on this machine; start the sweep where "
                    "SLURM's commands are, or use launcher=local."
                )
        for word in self.sbatch:
            if not re.fullmatch(r"[a-z][a-z-]*(=.+)?", word):
                raise UserError(f"launcher.sbatch=[{word}] is not an option of sbatch: write NAME=VALUE, or only NAME.")

    @interrupted_once()
    def launch(self, jobs: Sequence[Job], events: JobEvents, execute: Execute) -> None:
        """Submit the jobs as there is room, and report the outcome of each as it ends."""
        if not jobs:
            return
        folder = Path(jobs[0].run_dir).parent / FOLDER / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        executor = self._executor(folder)
        waiting, live = list(jobs), list[SubmittedJob]()
        may_start = True
        try:
            while live or (may_start and waiting):
                # With a limit, one array at a time: SLURM limits the running jobs of each array.
                if may_start and waiting and not (live and self.jobs is not None):
                    room = slurm_commands.largest_array()
                    live += self._submit(executor, execute, waiting[:room])
                    del waiting[:room]
                for each in live:
                    if each.started_s is None and each.handle.paths.stdout.exists():
                        each.started_s = time.monotonic()
                        events.on_start(each.job)
                for each, outcome in _ended(live):
                    live.remove(each)
                    if outcome is not None and not events.on_finish(outcome) and may_start:
                        may_start = False
                        _cancel_pending(live)
                if live:
                    time.sleep(self.poll_s)
        except BaseException:
            slurm_commands.cancel(_ids(live))
            log.warning("cancelled %d unfinished jobs; their logs are in %s", len(live), folder)
            raise
        finally:
            _keep_logs_only(folder)

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
            "array_parallelism": self.jobs or slurm_commands.largest_array(),
            "stderr_to_stdout": True,
            "setup": list(self.setup) or None,
            # Since SLURM 22.05 srun ignores the CPUs of sbatch and would give a job one. A requeued job must not
            # overwrite its log.
            "srun_args": ["--open-mode=append", f"--cpus-per-task={self.cpus}"],
            "additional_parameters": {"requeue": True} | dict(map(_flag, self.sbatch)),
        }
        executor.update_parameters(**{name: value for name, value in wanted.items() if value is not None})
        return executor

    def _submit(self, executor: Executor, execute: Execute, jobs: Sequence[Job]) -> list[SubmittedJob]:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        tasks = [JobTask(execute, job, self.cpus, self.timeout_min, self.max_requeues) for job in jobs]
        try:
            with slurm_commands.without_slurm_environment():
                handles = executor.submit_array(tasks)
        except (FailedJobError, FailedSubmissionError) as error:
            reason = " ".join(str(error).replace("sbatch: error:", "").split())
            raise UserError(f"launcher=slurm: sbatch refused the jobs: {reason}") from error
        array, folder = handles[0].job_id.partition("_")[0], handles[0].paths.folder
        log.info("submitted %d jobs to SLURM as %s; logs in %s", len(handles), array, folder)
        return [SubmittedJob(job, handle) for job, handle in zip(jobs, handles, strict=True)]


def _flag(word: str) -> tuple[str, str | bool]:
    name, equals, value = word.partition("=")
    return name, value if equals else True


def _ids(live: Sequence[SubmittedJob]) -> list[str]:
    return [each.handle.job_id for each in live]


def _cancel_pending(live: Sequence[SubmittedJob]) -> None:
    for each in live:
        each.cancelled = True
    slurm_commands.cancel(_ids(live), "--state=PENDING")


def _ended(live: Sequence[SubmittedJob]) -> list[tuple[SubmittedJob, Outcome | None]]:
    """The jobs that have ended, with their outcomes; None for one that was cancelled before it started."""
    states = slurm_commands.read_states(_ids(live)) if live else {}
    found: list[tuple[SubmittedJob, Outcome | None]] = []
    for each in live:
        if each.handle.paths.result_pickle.exists():
            found.append((each, _read_result(each)))
        elif states is not None:
            state, code = states.get(each.handle.job_id, ("", ""))
            if slurm_commands.is_over(state) and _is_final(each, state):
                died = None if each.never_started else each.failed(slurm_commands.describe_end(state, code))
                found.append((each, died))
    for each, _ in found:
        each.handle.paths.result_pickle.unlink(missing_ok=True)
        each.handle.paths.submitted_pickle.unlink(missing_ok=True)
    return found


def _is_final(ended: SubmittedJob, state: str) -> bool:
    """Whether enough time has passed for the result of an ended job to appear."""
    now_s, folder = time.monotonic(), ended.handle.paths.folder
    ended.ended_s = ended.ended_s or now_s
    with contextlib.suppress(OSError):  # makes a network file system refresh its cache
        folder.chmod(folder.stat().st_mode)
    late_s = 0.0 if ended.never_started else LATE_S if state in ("", "COMPLETED") else 2.0
    return now_s - ended.ended_s >= late_s


def _read_result(ended: SubmittedJob) -> Outcome:
    from submitit.core.utils import pickle_load

    try:
        state, value = pickle_load(ended.handle.paths.result_pickle)
    except Exception as error:
        return ended.failed(f"its result can't be read ({type(error).__name__}: {error})")
    if state != "success" or not isinstance(value, Outcome):
        lines = str(value).strip().splitlines() or ["it gave no result"]
        return ended.failed(lines[-1])
    return value


def _keep_logs_only(folder: Path) -> None:
    """Delete what submitit wrote besides logs."""
    for pattern in (".submission_file_*", "*.pkl", "*.save_tmp"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
