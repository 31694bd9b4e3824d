"""One run after the other, in a process of their own that a dying run does not take the sweep down with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from afterkernel.options import option
from afterkernel.sweep.job import Job
from afterkernel.sweep.launchers.launcher import Launcher, Tell


@dataclass
class Basic(Launcher):
    """One run at a time on this machine, with all of its cores and GPUs."""

    name: str = option("basic", "which launcher (set by launcher=NAME)", decides=False)

    speaking: ClassVar[bool] = True

    def launch(self, jobs: Sequence[Job], tell: Tell) -> None:
        """Run the jobs in order."""
        from afterkernel.sweep.launchers.processes import run_in_processes

        run_in_processes(jobs, tell, [{}], "plain")
