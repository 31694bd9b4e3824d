"""submitit's local executor and its controller, mended where they forget how a process ended or hide the GPUs.

Run as a program it is the controller: it starts one job's process, signals it before its time limit, starts it again
when it asks for that, and notes how it ended.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from submitit import Job
from submitit.local.local import Controller, LocalExecutor, LocalJob


class NotingController(Controller):
    """Writes the exit code of the job's process beside its logs: negative for a signal, None at its time limit."""

    def wait(self, freq: int = 24) -> Sequence[int | None]:
        """Wait for the end or for the time limit."""
        codes = super().wait(freq)
        _exit_path(self.folder, self.pid).write_text(str(codes[0]))
        return codes


class NotingExecutor(LocalExecutor):
    """Starts that controller, in a session of its own: Ctrl-C is the launcher's to pass on."""

    def _submit_command(self, command: str) -> LocalJob[Any]:
        environment = os.environ | {
            "SUBMITIT_EXECUTOR": "local",
            "SUBMITIT_LOCAL_COMMAND": command,
            "SUBMITIT_LOCAL_NTASKS": "1",
            "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
            "SUBMITIT_LOCAL_NODEID": "0",
            "SUBMITIT_LOCAL_TIMEOUT_S": str(60 * self.parameters["timeout_min"]),
            "SUBMITIT_LOCAL_SIGNAL_DELAY_S": str(self.parameters["signal_delay_s"]),
            "SUBMITIT_LOCAL_WITH_SHELL": "",
            "SUBMITIT_STDERR_TO_STDOUT": "1",
        }
        # -P: this file's neighbours are not to be taken for the packages whose names they bear.
        arguments = [sys.executable, "-P", __file__, str(self.folder), str(self.max_num_timeout)]
        process = subprocess.Popen(arguments, env=environment, start_new_session=True)
        return LocalJob(folder=self.folder, job_id=str(process.pid), process=process)


def executor(folder: Path, timeout_min: int, signal_delay_s: int, max_requeues: int) -> NotingExecutor:
    """An executor that writes into `folder`."""
    made = NotingExecutor(folder, max_num_timeout=max_requeues)
    made.update_parameters(timeout_min=timeout_min, signal_delay_s=signal_delay_s)
    return made


def process_of(handle: Job[Any]) -> subprocess.Popen[bytes]:
    """The controller of a job."""
    return cast(subprocess.Popen[bytes], cast(LocalJob[Any], handle)._process)


def read_exit(folder: Path, job_id: str) -> str:
    """The exit code noted for a job, "None" where its time limit ended it; empty where its controller was killed."""
    try:
        return _exit_path(folder, job_id).read_text()
    except OSError:
        return ""


def _exit_path(folder: Path, job_id: str) -> Path:
    return folder / f"{job_id}_exit"


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        # The first run and each that follows a requeue.
        NotingController(Path(sys.argv[1])).run(max_retry=1 + int(sys.argv[2]))
