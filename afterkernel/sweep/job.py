"""A job of a sweep, in plain data that travels to any process, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["finished", "already", "elsewhere", "failed", "interrupted"]

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
    """What came of a job; `sentence` says why where it is not a success, `log` is the path of the run's log.

    `finished` now, `already` finished before, done `elsewhere` by another process at this moment, `failed` (by an
    error, an exit, a signal, for want of memory), or `interrupted` so that it goes on when it is run again. `mistake`
    says that the failure was a user's mistake, told in one sentence. `warnings` are those of the run's log.
    """

    run_id: str
    state: State
    sentence: str
    log: str
    wall_s: float
    mistake: bool = False
    warnings: tuple[str, ...] = ()
