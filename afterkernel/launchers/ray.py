"""Ray: each job is a task in its own process, on a running cluster or on one started on this machine."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from afterkernel.errors import UserError
from afterkernel.launchers.engines.ray_task import run_job
from afterkernel.launchers.interrupt import interrupted_once
from afterkernel.launchers.job import Job, Outcome
from afterkernel.launchers.launcher import Execute, JobEvents, Launcher, launcher_option

log = logging.getLogger(__name__)

_GB = 10**9
# How long jobs may take to stop in order before their processes are ended.
_STOP_S = 10.0


@dataclass
class RayTask:
    """A task: its job, how often it was started before, the file that marks its start, and when it was submitted."""

    job: Job
    attempt: int
    mark: Path
    since_s: float


@dataclass
class RayLauncher(Launcher):
    """Tasks of a Ray cluster whose nodes have this package and share the file system of the results."""

    what: ClassVar[str] = "tasks of a Ray cluster"
    name: str = launcher_option("ray", "which launcher (set by launcher=NAME)")
    address: str | None = launcher_option(
        None,
        "HOST:PORT of a cluster, or local to start one; null is RAY_ADDRESS, a cluster that runs here, or local",
    )
    jobs: int | None = launcher_option(
        None, "largest number of jobs at once; null is as many as fit", at_least=1, at_most=100_000
    )
    cpus: int = launcher_option(1, "CPUs, and CPU threads, per job", at_least=1, at_most=1024)
    gpus: float = launcher_option(
        0.0, "GPUs per job; with 0.5 two jobs share one, with 0 jobs see none", at_least=0, at_most=1024
    )
    memory_gb: float | None = launcher_option(
        None, "memory that each job reserves; null reserves none", above=0, at_most=1e6
    )
    retries: int = launcher_option(
        0, "times that a job whose process died is restarted from its checkpoint", at_least=0
    )
    env: list[str] = launcher_option(
        [], "environment variables to pass to the jobs, in addition to those that begin with WANDB_"
    )
    log_to_driver: bool = launcher_option(False, "print the output of the jobs on this terminal")
    object_store_gb: float = launcher_option(
        0.1, "object store of a cluster that is started for the sweep", at_least=0.08, at_most=1e6
    )
    poll_s: float = launcher_option(1.0, "seconds between two checks of the tasks", above=0, at_most=3600)

    def check(self) -> None:
        """Raise UserError without Ray, or for a variable that is not set."""
        if importlib.util.find_spec("ray") is None:
            raise UserError(
                "launcher=ray: ray is not installed; pip install 'afterkernel[ray]', or use launcher=local."
            )
        for name in self.env:
            if name not in os.environ:
                raise UserError(f"launcher.env=[{name}]: there is no such variable here; set it, or leave it out.")
        address = self._address()
        if address not in (None, "local", "auto"):
            _check_address("launcher.address" if self.address else "RAY_ADDRESS", address)

    @interrupted_once()
    def launch(self, jobs: Sequence[Job], events: JobEvents, execute: Execute) -> None:
        """Hand the jobs to Ray as there is room, and report the outcome of each as it ends."""
        if not jobs:
            return
        marks_parent = Path(jobs[0].run_dir).parent
        marks_parent.mkdir(parents=True, exist_ok=True)
        marks = Path(tempfile.mkdtemp(prefix=".ray-", dir=marks_parent))
        try:
            with self._cluster() as logs:
                self._launch(list(jobs), events, execute, marks, logs)
        finally:
            shutil.rmtree(marks, ignore_errors=True)

    def _launch(self, waiting: list[Job], events: JobEvents, execute: Execute, marks: Path, logs: str) -> None:
        import ray

        # Restarts are counted here, not by Ray. Each process does one job and ends, which frees its memory.
        remote = ray.remote(max_retries=0, max_calls=1, **self._resources())(run_job)
        environment = {
            name: value for name, value in os.environ.items() if name.startswith("WANDB_") or name in self.env
        }
        live: dict[Any, RayTask] = {}

        def submit(job: Job, attempt: int) -> None:
            mark = marks / f"{job.run_id}.{attempt}"
            ref = remote.remote(execute, job, self.cpus, environment, str(mark), attempt)
            live[ref] = RayTask(job, attempt, mark, time.monotonic())

        room = self._room()
        may_start = True
        try:
            while live or (may_start and waiting):
                while may_start and waiting and len(live) < room:
                    submit(waiting.pop(0), 0)
                for running in live.values():
                    if running.mark.exists():
                        events.on_start(running.job)
                done, _ = ray.wait(list(live), timeout=self.poll_s)
                for ref in done:
                    running = live.pop(ref)
                    outcome, died = self._outcome(ref, running, logs)
                    if died and may_start and running.attempt < self.retries:
                        log.warning("%s: %s; it is restarted", running.job.run_id, outcome.message)
                        submit(running.job, running.attempt + 1)
                    elif (may_start or running.mark.exists()) and not events.on_finish(outcome) and may_start:
                        may_start = False
                        for each, other in live.items():
                            if not other.mark.exists():
                                ray.cancel(each)
        except BaseException:
            self._stop(list(live))
            log.warning("cancelled %d unfinished jobs", len(live))
            raise

    def _resources(self) -> dict[str, Any]:
        memory = {} if self.memory_gb is None else {"memory": round(self.memory_gb * _GB)}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus} | memory

    def _room(self) -> int:
        """How many jobs to submit at once: as many as fit in the cluster. Raises UserError if none fits."""
        import ray

        memory = "null" if self.memory_gb is None else f"{self.memory_gb:g}"
        requested = {"CPU": float(self.cpus), "GPU": self.gpus, "memory": (self.memory_gb or 0) * _GB}
        requested = {name: amount for name, amount in requested.items() if amount > 0}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        fitting = sum(min(int(node.get(name, 0) / amount) for name, amount in requested.items()) for node in nodes)
        if fitting == 0:
            most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in requested}
            raise UserError(
                "launcher=ray: no node of the cluster has the resources that a job requests "
                f"(launcher.cpus={self.cpus}, launcher.gpus={self.gpus:g}, launcher.memory_gb={memory}): "
                f"the largest node has {_describe(most)}."
            )
        return fitting if self.jobs is None else min(self.jobs, fitting)

    def _outcome(self, ref: Any, running: RayTask, logs: str) -> tuple[Outcome, bool]:
        """The outcome of a task that has ended, and whether its process died."""
        import ray

        def ended(state: Any, reason: str) -> Outcome:
            wall_s = time.monotonic() - running.since_s
            return Outcome(running.job.run_id, state, f"{reason}; see {logs}", running.job.log, wall_s)

        try:
            value = ray.get(ref)
        except ray.exceptions.TaskCancelledError:
            return ended("interrupted", "it was cancelled in Ray"), False
        except ray.exceptions.OutOfMemoryError:
            return ended("failed", "Ray killed it, since its node was short of memory; raise launcher.memory_gb"), True
        except ray.exceptions.WorkerCrashedError as error:
            return ended("failed", f"its process died: {_first_sentence(error)}"), True
        except ray.exceptions.RayTaskError as error:
            return ended("failed", f"its process failed: {_last_line(error)}"), False
        except ray.exceptions.RayError as error:
            return ended("failed", f"Ray lost it ({type(error).__name__}: {_first_sentence(error)})"), True
        except Exception as error:
            return ended("failed", f"its result can't be read ({type(error).__name__}: {error})"), False
        if not isinstance(value, Outcome):
            return ended("failed", f"it returned {type(value).__name__} instead of an outcome"), False
        return value, False

    def _stop(self, refs: list[Any]) -> None:
        """Interrupt tasks as by Ctrl-C, and kill those that have not ended after a while."""
        import ray

        for ref in refs:
            ray.cancel(ref)
        _, deaf = ray.wait(refs, num_returns=len(refs), timeout=_STOP_S) if refs else ([], [])
        for ref in deaf:
            ray.cancel(ref, force=True)

    @contextlib.contextmanager
    def _cluster(self) -> Iterator[str]:
        """Connect to a cluster, or start one if there is none; yields the folder of Ray's logs."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that we start sends no reports
        import ray

        if ray.is_initialized():
            raise UserError("launcher=ray: this process uses Ray already; call ray.shutdown() first.")
        common: dict[str, Any] = {"log_to_driver": self.log_to_driver, "logging_level": logging.WARNING}
        context, address = None, self._address()
        if address is None:
            with contextlib.suppress(ConnectionError):
                context = ray.init(address="auto", **common)
        elif address != "local":
            context = _connect(address, **common)
        if context is None:
            os.environ.setdefault("RAY_AUTH_MODE", "token")  # no other user can run code in a cluster that we start
            # Ray accepts these options only for a cluster that it starts.
            store = round(self.object_store_gb * _GB)
            context = ray.init(address="local", include_dashboard=False, object_store_memory=store, **common)
        try:
            where = context.address_info["address"]
            log.info("launcher=ray: at most %d jobs at once on the cluster at %s", self._room(), where)
            yield str(Path(context.address_info["session_dir"]) / "logs")
        finally:
            ray.shutdown()  # a cluster that we did not start keeps running

    def _address(self) -> str | None:
        return self.address or os.environ.get("RAY_ADDRESS") or None


def _check_address(option_name: str, address: str) -> None:
    """Check an address: Ray itself would try for minutes to reach a missing cluster, and then exit."""
    host, _, port = address.rpartition(":")
    if address.startswith("ray://") or not host or not port.isdigit():
        raise UserError(f"{option_name}={address}: write HOST:PORT of a cluster's head, on one of its nodes, or local.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"{option_name}={address}: no Ray cluster answers there ({error}); start one with `ray start --head`, or "
            "use launcher.address=local."
        ) from error


def _connect(address: str, **common: Any) -> Any:
    import ray

    try:
        return ray.init(address=address, **common)
    except ConnectionError as error:
        if "token" in str(error.__cause__).lower():
            raise UserError(
                f"launcher=ray: the cluster at {address} requires a token; set RAY_AUTH_MODE=token, with the token in "
                "RAY_AUTH_TOKEN or ~/.ray/auth_token."
            ) from error
        raise UserError(f"launcher=ray: {address} is not a Ray cluster of this version and Python: {error}.") from error


def _describe(most: Mapping[str, float]) -> str:
    words = []
    for name, amount in most.items():
        words.append(f"{amount / _GB:.1f} GB of memory" if name == "memory" else f"{amount:g} {name}s")
    return " and ".join(words)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split()).split(". ")[0].rstrip(".")
