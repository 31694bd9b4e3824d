"""A job of a sweep, in plain data that travels to any process, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

# "plain" for one run at a time, "named" where several share a terminal, "none" for the log file alone.
Echo = Literal["plain", "named", "none"]
JobState = Literal["finished", "skipped", "locked", "failed", "interrupted"]

LOG = "run.log"


@dataclass(frozen=True)
class Job:
    """One run to do: its resolved configuration as plain data, its folder, and where relative paths start.

    A process that takes it needs no Hydra, only this package; `run_dir` and `cwd` are absolute. `arguments` are those
    of the command line that asked for the run, for its provenance.
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

    States: `finished`; `skipped`, since it was finished before; `locked` by another process that works on it; `failed`,
    by an error, an exit, a signal or lack of memory; `interrupted`, so that it continues when it is run again.
    `user_error` says that a user's mistake caused the failure. `warnings` are those of the run's log.
    """

    run_id: str
    state: JobState
    message: str
    log: str
    wall_s: float
    user_error: bool = False
    warnings: tuple[str, ...] = ()
