"""A job of a sweep, as plain data that can be sent to any process, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

JobState = Literal["finished", "skipped", "locked", "failed", "interrupted"]

LOG = "run.log"
# How a process is given its number of CPU threads; PyTorch, NumPy and SciPy read them when they are imported.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Job:
    """One run to do: its resolved configuration as plain data, its folder, and the working directory.

    The process that runs it does not need Hydra. `run_dir` and `cwd` are absolute. `arguments` are those of the command
    line, for the provenance.
    """

    run_id: str
    config: dict[str, Any]
    run_dir: str
    cwd: str
    arguments: tuple[str, ...] = ()

    @property
    def log(self) -> str:
        """The path of the run's log."""
        return str(Path(self.run_dir) / LOG)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job: its state, why if it did not succeed (`message`), and the path of its log.

    States: `finished`; `skipped`, if it was finished before; `locked` by another process; `failed`, by an error, an
    exit, a signal or lack of memory; `interrupted`, so that it continues when it is run again. `user_error` is true
    if a mistake of the user caused the failure. `warnings` are those in the run's log.
    """

    run_id: str
    state: JobState
    message: str
    log: str
    wall_s: float
    user_error: bool = False
    warnings: tuple[str, ...] = ()
