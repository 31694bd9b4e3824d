"""Jobs in worker processes of this machine; each process does one job after another, and is replaced if it dies."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import Any

# Imported here, since imports in several threads at once can fail.
from joblib.externals.loky import ProcessPoolExecutor, process_executor
from joblib.externals.loky.backend.utils import kill_process_tree

from afterkernel.launchers.interrupt import interrupted_once
from afterkernel.launchers.job import Job, Outcome
from afterkernel.launchers.launcher import Execute, JobEvents
from afterkernel.plugins import own_process

GRACE_S = 20.0
LOOK_S = 1.0

# From a worker thread: a job that starts; an outcome, with an event that is set once it has been handled; None when the
# thread ends; or the error that ended it.
Message = Job | tuple[Outcome, threading.Event] | BaseException | None


def run_in_processes(
    jobs: Sequence[Job], events: JobEvents, execute: Execute, environments: Sequence[Mapping[str, str]]
) -> None:
    """Run jobs in as many processes as there are environments, with the contract of `Launcher.launch`.

    Each process is a pool of one of loky, joblib's engine: if it dies, only its job fails. What a job prints goes to
    its log.
    """
    waiting, messages = deque(jobs), queue.SimpleQueue[Message]()
    stop = threading.Event()
    slots = [
        _WorkerThread(waiting, messages, stop, environment, partial(_run_job, execute))
        for environment in environments[: len(jobs)]
    ]
    with interrupted_once() as force_stop:
        try:
            for slot in slots:
                slot.start()
            serving = len(slots)
            while serving:
                try:
                    arrived = messages.get(timeout=LOOK_S)
                except queue.Empty:
                    if any(slot.is_alive() for slot in slots) or not messages.empty():
                        continue
                    raise RuntimeError("the threads that serve the worker processes have ended") from None
                if arrived is None:
                    serving -= 1
                    continue
                if isinstance(arrived, BaseException):
                    raise arrived
                if isinstance(arrived, Job):
                    events.on_start(arrived)
                    continue
                outcome, answered = arrived
                if not events.on_finish(outcome):
                    stop.set()
                answered.set()
        except BaseException:
            stop.set()
            _stop_workers([slot for slot in slots if slot.ident is not None], force_stop)
            raise


def _stop_workers(slots: Sequence[_WorkerThread], force_stop: threading.Event) -> None:
    """Interrupt all workers; kill those that have not ended after GRACE_S, or once `force_stop` is set."""
    for slot in slots:
        slot.signal(signal.SIGINT)
    deadline = time.monotonic() + GRACE_S
    for slot in slots:
        while slot.is_alive() and time.monotonic() < deadline and not force_stop.is_set():
            slot.join(0.1)
    for slot in slots:
        slot.signal(signal.SIGKILL)
        slot.join()


class _WorkerThread(threading.Thread):
    """Feeds one worker process with jobs."""

    def __init__(
        self,
        waiting: deque[Job],
        messages: queue.SimpleQueue[Message],
        stop: threading.Event,
        environment: Mapping[str, str],
        work: Callable[[Job], Outcome],
    ) -> None:
        super().__init__(daemon=True)
        self.waiting, self.messages, self.stop = waiting, messages, stop
        self.environment, self.work = dict(environment), work
        self.pid: int | None = None

    def run(self) -> None:
        """Run jobs until none is waiting, or none should start any more."""
        try:
            self._serve()
        except BaseException as error:  # else the main thread would wait for ever
            self.messages.put(error)
        else:
            self.messages.put(None)

    def _serve(self) -> None:
        executor = None
        while not self.stop.is_set():
            try:
                job = self.waiting.popleft()
            except IndexError:
                break
            self.messages.put(job)
            started = time.monotonic()
            try:
                if executor is not None and _ended_thread(executor):
                    _shut_down(executor, kill=True)
                    executor = None
                if executor is None:
                    executor = ProcessPoolExecutor(
                        1, env=self.environment, initializer=initialise_worker, initargs=(os.getpid(),)
                    )
                    self.pid = _result(executor, executor.submit(os.getpid))
                outcome = _result(executor, executor.submit(self.work, job))
            except BaseException as error:  # the process may raise anything, also SystemExit
                outcome = Outcome(job.run_id, "failed", _describe_death(error), job.log, time.monotonic() - started)
                self.pid = None
                if executor is not None:
                    _shut_down(executor, kill=True)
                    executor = None
            answered = threading.Event()
            self.messages.put((outcome, answered))
            # Wait for the answer, which may stop the sweep; after a stop no answer comes.
            while not self.stop.is_set() and not answered.wait(0.1):
                pass
        self.pid = None
        if executor is not None:
            _shut_down(executor, kill=False)

    def signal(self, number: int) -> None:
        """Send a signal to the process, if there is one."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class _EngineError(Exception):
    """A thread of loky that is needed for results has ended."""


def _result(executor: Any, future: Future[Any]) -> Any:
    """The result of a call. Raises what the call raised, and _EngineError if no result can arrive.

    loky reports the end of a process, but not of its own threads in this process.
    """
    while not wait([future], LOOK_S).done:
        ended = _ended_thread(executor)
        if ended and not wait([future], LOOK_S).done:  # the result may have arrived just before
            raise _EngineError(f"the {ended} thread of joblib's engine ended, so that no result can arrive")
    return future.result()


def _ended_thread(executor: Any) -> str:
    """Which of loky's threads has ended: that which sends jobs or that which receives results; else empty."""
    threads = {
        "managing": getattr(executor, "_executor_manager_thread", None),
        "sending": getattr(getattr(executor, "_call_queue", None), "_thread", None),
    }
    return next((name for name, thread in threads.items() if thread is not None and not thread.is_alive()), "")


def _shut_down(executor: Any, *, kill: bool) -> None:
    """End an executor and its process, even if the thread that should end the process has ended."""
    processes = list(getattr(executor, "_processes", {}).values())
    executor.shutdown(kill_workers=kill)
    for process in processes:
        if process.is_alive():
            kill_process_tree(process)


def _describe_death(error: BaseException) -> str:
    """Why a process died, from the error of loky."""
    if isinstance(error, _EngineError):
        return f"{error}; its process was ended, and what it recorded is kept"
    code = re.search(r"exit codes of the workers are \{(.*?)\}", str(error))
    if code is None:
        return f"its process failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    how = code[1].split("(")[0]
    hint = ", perhaps because memory ran out" if how == "SIGKILL" else ""
    return f"its process was ended by {how}{hint}; what it recorded is kept"


def initialise_worker(parent: int) -> None:
    """Initialise a worker: it receives Ctrl-C only from its parent, and ends when its parent does."""
    own_process()
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # With psutil, loky replaces workers that have grown by 300 MB, and each run would repeat all imports.
    process_executor._USE_PSUTIL = False

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGKILL)  # files are written atomically, so killing is safe

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _run_job(execute: Execute, job: Job) -> Outcome:
    with _output_to_log(job):
        try:
            return execute(job, prints=False)
        except KeyboardInterrupt:
            return Outcome(job.run_id, "interrupted", "interrupted", job.log, 0.0)


@contextlib.contextmanager
def _output_to_log(job: Job) -> Iterator[None]:
    """Send what libraries print to the run's log instead of the terminal."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    try:
        with contextlib.suppress(OSError):  # the run itself reports that its log can not be written
            Path(job.run_dir).mkdir(parents=True, exist_ok=True)
            with Path(job.log).open("ab") as log:
                for number, _ in kept:
                    os.dup2(log.fileno(), number)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
