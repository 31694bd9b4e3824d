"""The base class of launchers: runs jobs and reports their outcomes as they arrive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol, runtime_checkable

from afterkernel.launchers.job import Job, Outcome
from afterkernel.options import option

# Where a run is computed changes none of its numbers.
launcher_option = partial(option, affects_results=False)


@runtime_checkable
class Execute(Protocol):
    """The function that runs a job in the process of a launcher; a module-level function, so that it can be pickled."""

    def __call__(self, job: Job, *, prints: bool = True) -> Outcome:
        """Do the job and return its outcome; only KeyboardInterrupt is raised.

        Its log goes to the file of the run and, if it `prints`, to the standard output.
        """
        ...


@runtime_checkable
class JobEvents(Protocol):
    """Receives the events of a launcher, all from one thread."""

    def on_start(self, job: Job) -> None:
        """A job has started; reported again if it is restarted."""
        ...

    def on_finish(self, outcome: Outcome) -> bool:
        """A job has ended; returns whether further jobs may start."""
        ...


@dataclass
class Launcher:
    """Where the jobs of a sweep run, with the options of its engine; one subclass per file of this package.

    The subclass is found by the default of its `name`; its fields are also its section of the configuration.
    """

    # What help says of it in one line; without it, the first sentence of the docstring.
    what: ClassVar[str] = ""

    name: str = launcher_option("", "which launcher (set by launcher=NAME)")

    def check(self) -> None:
        """Raise UserError if the engine can't run here; called before any job starts."""

    def describe(self, jobs: int) -> str:
        """Where so many jobs will run, for the first line of a sweep."""
        return f"launcher={self.name}"

    def launch(self, jobs: Sequence[Job], events: JobEvents, execute: Execute) -> None:
        """Run the jobs by `execute` and report each one's start and outcome, also if its process died.

        Once `on_finish` returns False, no further job starts, and running jobs are completed. A job that exits, is
        killed or runs out of memory is reported as failed, and the others continue. On KeyboardInterrupt running jobs
        are stopped, and the exception is raised again.
        """
        raise TypeError(f"{type(self).__name__} does not say how to launch")
