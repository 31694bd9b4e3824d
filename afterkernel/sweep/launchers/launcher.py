"""What every launcher offers: jobs in, outcomes out, as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from afterkernel.options import option
from afterkernel.sweep.job import Job, Outcome


@runtime_checkable
class Tell(Protocol):
    """What a launcher tells of its jobs, from one thread."""

    def begun(self, job: Job) -> None:
        """A job has begun; told more than once where it is begun again."""
        ...

    def __call__(self, outcome: Outcome) -> bool:
        """A job has ended; answers whether further jobs may begin."""
        ...


@dataclass
class Launcher:
    """Where the jobs of a sweep run, with the options of its engine; one subclass a file of this package.

    The subclass is found by the default of its `name`; its fields double as the structured configuration.
    """

    name: str = option("", "which launcher (set by launcher=NAME)", decides=False)

    # Whether what the runs say reaches this terminal.
    speaking: ClassVar[bool] = False

    def check(self) -> None:
        """Raise UserError where the engine can't run here; called before any job starts."""

    def launch(self, jobs: Sequence[Job], tell: Tell) -> None:
        """Run the jobs by `afterkernel.sweep.worker.execute`, and tell the outcome of each, also of one that died.

        `tell.begun` is called as a job begins, and `tell` once for its outcome. Once that answers False no further job
        begins, and those that have begun end. A job that exits, is killed or runs out of memory is reported as failed,
        and the others go on. On KeyboardInterrupt the jobs that run are stopped, and the exception passes on.
        """
        raise TypeError(f"{type(self).__name__} does not say how to launch")
