"""What every launcher offers: jobs in, outcomes out, as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from afterkernel.options import option
from afterkernel.sweep.job import Job, Outcome

# Told of each outcome as it comes; answers whether further jobs may begin.
Tell = Callable[[Outcome], bool]


@dataclass
class Launcher:
    """Where the jobs of a sweep run, with the options of its engine; one subclass a file of this package.

    The subclass is found by the default of its `name`; its fields double as the structured configuration.
    """

    name: str = option("", "which launcher (set by launcher=NAME)", decides=False)

    def check(self) -> None:
        """Raise UserError where the engine can't run here; called before any job starts."""

    def launch(self, jobs: Sequence[Job], tell: Tell) -> None:
        """Run the jobs by `afterkernel.sweep.worker.execute`, and tell the outcome of each, also of one that died.

        `tell` is called from one thread, once a job that was begun. Once it answers False no further job begins, and
        those that have begun end. A job that exits, is killed or runs out of memory is told as failed, and the others
        go on. On KeyboardInterrupt the jobs that run are stopped, and the exception passes on.
        """
        raise TypeError(f"{type(self).__name__} does not say how to launch")
