"""What the two launchers over submitit share: tasks out, outcomes back, whatever becomes of a job's process."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import secrets
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from afterkernel.errors import UserError
from afterkernel.options import option
from afterkernel.sweep.engines.submitit_task import JobTask
from afterkernel.sweep.interrupt import interrupted_once
from afterkernel.sweep.job import Job, Outcome
from afterkernel.sweep.launchers.launcher import Launcher, Tell

if TYPE_CHECKING:
    from submitit import Executor
    from submitit import Job as Handle

log = logging.getLogger(__name__)

# Below the sweep's folder, hidden, so that it is not taken for a run.
FOLDER = ".submitit"


@dataclass
class Ended:
    """How a job's process ended; `late_s` is how long its result may still be on its way."""

    sentence: str
    late_s: float


@dataclass
class Running:
    """A job that was submitted, which of the places at once it holds, and when it was first seen begun and ended.

    `cancelled` says that it is not to begin where it has not begun.
    """

    job: Job
    handle: Handle[Outcome]
    place: int
    begun_s: float | None = None
    ended_s: float | None = None
    cancelled: bool = False


@dataclass
class SubmititLauncher(Launcher):
    """Jobs as processes of submitit's, each from a pickle in the sweep's folder, each with a time limit."""

    jobs: int | None = option(None, "jobs at most at once", at_least=1, at_most=100_000, decides=False)
    cpus: int | None = option(None, "CPUs, and CPU threads, a job", at_least=1, at_most=1024, decides=False)
    gpus: int | None = option(None, "GPUs a job", at_least=0, at_most=1024, decides=False)
    timeout_min: int = option(
        60, "time limit of a job, which is then requeued and goes on", at_least=1, at_most=527_040, decides=False
    )
    signal_delay_s: int = option(
        90,
        "time before the limit at which a job receives the signal to stop; saving its state must fit in here",
        at_least=1,
        at_most=540,  # beyond 10 minutes submitit takes a time limit for a pre-emption, and counts no requeue
        decides=False,
    )
    max_requeues: int = option(10, "times that a job goes on after its time limit", at_least=0, decides=False)
    poll_s: float = option(2.0, "time between two looks at the jobs", above=0, at_most=3600, decides=False)

    # Whether a result counts only once its process is known to have ended.
    waits_for_processes: ClassVar[bool] = False

    def check(self) -> None:
        """Raise UserError without submitit, or where the time limit leaves a job no time."""
        if importlib.util.find_spec("submitit") is None:
            raise UserError(
                f"launcher={self.name}: submitit is not installed; pip install 'afterkernel[submitit]', or use "
                "launcher=basic."
            )
        longest_s = 60 * self.timeout_min - self._early_s()
        if self.signal_delay_s > longest_s:
            raise UserError(
                f"launcher.signal_delay_s={self.signal_delay_s} leaves no time of launcher.timeout_min="
                f"{self.timeout_min}: it must be at most {longest_s}."
            )

    @interrupted_once()
    def launch(self, jobs: Sequence[Job], tell: Tell) -> None:
        """Submit the jobs as there is room, and tell the outcome of each as it ends."""
        if not jobs:
            return
        folder = Path(jobs[0].run_dir).parent / FOLDER / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        executor = self._executor(folder)
        waiting, live = list(jobs), list[Running]()
        go_on = True
        try:
            while live or (go_on and waiting):
                if go_on and waiting and (room := self._room(len(live))):
                    live += self._submit(executor, waiting[:room], live)
                    del waiting[:room]
                for running in self._begun(live):
                    tell.begun(running.job)
                for running, outcome in self._ended(live):
                    live.remove(running)
                    if outcome is not None and not tell(outcome) and go_on:
                        go_on = False
                        self._cancel_pending(live)
                if live:
                    time.sleep(self.poll_s)
        except BaseException:
            self._cancel(live)
            log.warning("cancelled the %d jobs that were under way; their logs are in %s", len(live), folder)
            raise
        finally:
            _tidy(folder)

    def _submit(self, executor: Executor, jobs: Sequence[Job], live: Sequence[Running]) -> list[Running]:
        from afterkernel.sweep import worker  # it imports the configuration, which imports this

        free = (place for place in range(len(live) + len(jobs)) if place not in {running.place for running in live})
        places = [next(free) for _ in jobs]
        tasks = [
            JobTask(worker.execute, job, self._threads(), self.timeout_min, self.max_requeues, self._devices(place))
            for job, place in zip(jobs, places, strict=True)
        ]
        handles = executor.submit_array(tasks)
        return [Running(*each) for each in zip(jobs, handles, places, strict=True)]

    def _begun(self, live: Sequence[Running]) -> list[Running]:
        """The jobs that have begun since the last look."""
        found = [each for each in live if each.begun_s is None and each.handle.paths.stdout.exists()]
        for running in found:
            running.begun_s = time.monotonic()
        return found

    def _ended(self, live: Sequence[Running]) -> list[tuple[Running, Outcome | None]]:
        """The jobs that have ended, with their outcomes; None for one that was cancelled before it began."""
        gone = self._gone(live)
        found: list[tuple[Running, Outcome | None]] = []
        for running in live:
            now, paths = time.monotonic(), running.handle.paths
            ended = gone.get(running.handle.job_id)
            if (ended or not self.waits_for_processes) and paths.result_pickle.exists():
                found.append((running, self._result(running)))
            elif ended:
                running.ended_s = running.ended_s or now
                with contextlib.suppress(OSError):  # a network file system then looks again
                    paths.folder.chmod(paths.folder.stat().st_mode)
                if now - running.ended_s >= ended.late_s:
                    found.append((running, self._died(running, ended)))
        for running, _ in found:
            running.handle.paths.result_pickle.unlink(missing_ok=True)
            running.handle.paths.submitted_pickle.unlink(missing_ok=True)
        return found

    def _result(self, running: Running) -> Outcome:
        from submitit.core.utils import pickle_load

        try:
            state, value = pickle_load(running.handle.paths.result_pickle)
        except Exception as error:
            return self._failed(running, f"its result can't be read ({type(error).__name__}: {error})")
        if state != "success" or not isinstance(value, Outcome):
            lines = str(value).strip().splitlines() or ["it gave no result"]
            return self._failed(running, lines[-1])
        return value

    def _died(self, running: Running, ended: Ended) -> Outcome | None:
        return self._failed(running, ended.sentence)

    def _failed(self, running: Running, sentence: str) -> Outcome:
        wall_s = 0.0 if running.begun_s is None else time.monotonic() - running.begun_s
        told = f"{sentence}; see {running.handle.paths.stdout}"
        return Outcome(running.job.run_id, "failed", told, running.job.log, wall_s)

    # What an engine says for itself.

    def _early_s(self) -> int:
        """How much earlier than asked the engine's signal may come, or how long a process takes to hear it."""
        raise TypeError(f"{type(self).__name__} does not say how early its signal is")

    def _executor(self, folder: Path) -> Executor:
        raise TypeError(f"{type(self).__name__} has no executor")

    def _room(self, live: int) -> int:
        """How many jobs may be submitted now."""
        raise TypeError(f"{type(self).__name__} does not say how many jobs it takes")

    def _gone(self, live: Sequence[Running]) -> Mapping[str, Ended]:
        """How those ended that run no more, by job id."""
        raise TypeError(f"{type(self).__name__} does not say what has ended")

    def _threads(self) -> int | None:
        return self.cpus

    def _devices(self, place: int) -> str | None:
        """CUDA_VISIBLE_DEVICES of the job at this place; None where the engine sets it."""
        return None

    def _cancel_pending(self, live: Sequence[Running]) -> None:
        """Cancel what has not begun."""

    def _cancel(self, live: Sequence[Running]) -> None:
        """Stop what runs, cancel what has not begun."""
        raise TypeError(f"{type(self).__name__} does not say how to cancel")


def _tidy(folder: Path) -> None:
    """Leave the logs alone of what submitit wrote."""
    for path in [
        each for pattern in (".submission_file_*", "*.pkl", "*.save_tmp", "*_exit") for each in folder.glob(pattern)
    ]:
        path.unlink(missing_ok=True)


def told_signal(number: int) -> str:
    """A signal by its name, with what usually sends it where that is not a person."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"{name}, as the system does when memory is short" if number == signal.SIGKILL else name
