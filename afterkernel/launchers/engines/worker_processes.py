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

# Here, since threads that import side by side can fail.
from joblib.externals.loky import ProcessPoolExecutor, process_executor
from joblib.externals.loky.backend.utils import kill_process_tree

from afterkernel.imports import skip_last_collection
from afterkernel.launchers.interrupt import interrupted_once
from afterkernel.launchers.job import Echo, Job, Outcome
from afterkernel.launchers.launcher import Execute, JobEvents
from afterkernel.progress.display import is_shown

GRACE_S = 20.0
LOOK_S = 1.0

# A job that begins, or an outcome and an event that is set once it has been handled; from a process that serves no
# more None, or
# what went wrong with serving it.
Message = Job | tuple[Outcome, threading.Event] | BaseException | None


def run_in_processes(
    jobs: Sequence[Job], events: JobEvents, execute: Execute, environments: Sequence[Mapping[str, str]], echo: Echo
) -> None:
    """Run jobs in as many processes as there are environments; as `Launcher.launch` otherwise.

    A process of joblib's engine, loky, each: where one dies, its one job fails and no other.
    """
    if is_shown():
        echo = "none"  # a display has the terminal for itself
    waiting, messages = deque(jobs), queue.SimpleQueue[Message]()
    stop = threading.Event()
    slots = [
        _Slot(waiting, messages, stop, environment, partial(_work, execute, echo))
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
            _end([slot for slot in slots if slot.ident is not None], force_stop)
            raise


def _end(slots: Sequence[_Slot], force_stop: threading.Event) -> None:
    """Interrupt what runs, and kill what has not ended after a grace, or once `force_stop` is set."""
    for slot in slots:
        slot.signal(signal.SIGINT)
    deadline = time.monotonic() + GRACE_S
    for slot in slots:
        while slot.is_alive() and time.monotonic() < deadline and not force_stop.is_set():
            slot.join(0.1)
    for slot in slots:
        slot.signal(signal.SIGKILL)
        slot.join()


class _Slot(threading.Thread):
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
        """Take jobs until none waits, or no further one is wanted."""
        try:
            self._serve()
        except BaseException as error:  # else the listener would wait for ever
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
                    _shut(executor, kill=True)
                    executor = None
                if executor is None:
                    executor = ProcessPoolExecutor(1, env=self.environment, initializer=_begin, initargs=(os.getpid(),))
                    self.pid = _result(executor, executor.submit(os.getpid))
                outcome = _result(executor, executor.submit(self.work, job))
            except BaseException as error:  # a process may send any; none is raised in this thread itself
                outcome = Outcome(job.run_id, "failed", _death(error), job.log, time.monotonic() - started)
                self.pid = None
                if executor is not None:
                    _shut(executor, kill=True)
                    executor = None
            answered = threading.Event()
            self.messages.put((outcome, answered))
            # No next job before it is known whether one is wanted; after a stop no answer comes.
            while not self.stop.is_set() and not answered.wait(0.1):
                pass
        self.pid = None
        if executor is not None:
            _shut(executor, kill=False)

    def signal(self, number: int) -> None:
        """Send a signal to the process, if there is one."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class _EngineError(Exception):
    """A part of loky without which no result arrives has ended."""


def _result(executor: Any, future: Future[Any]) -> Any:
    """The result of a call. Raises what the call raised, and _EngineError where nothing can bring a result any more.

    loky reports a process that ends, but not the end of its own threads in this process.
    """
    while not wait([future], LOOK_S).done:
        ended = _ended_thread(executor)
        if ended and not wait([future], LOOK_S).done:  # it may have brought the result just before
            raise _EngineError(f"the {ended} thread of joblib's engine ended, so that no result can arrive")
    return future.result()


def _ended_thread(executor: Any) -> str:
    """Which of loky's threads has ended: the one that sends jobs or the one that receives results; empty if neither."""
    threads = {
        "managing": getattr(executor, "_executor_manager_thread", None),
        "sending": getattr(getattr(executor, "_call_queue", None), "_thread", None),
    }
    return next((name for name, thread in threads.items() if thread is not None and not thread.is_alive()), "")


def _shut(executor: Any, *, kill: bool) -> None:
    """End an executor and its process, also where the thread that should end the process has ended."""
    processes = list(getattr(executor, "_processes", {}).values())
    executor.shutdown(kill_workers=kill)
    for process in processes:
        if process.is_alive():
            kill_process_tree(process)


def _death(error: BaseException) -> str:
    """How a process died, from what loky says."""
    if isinstance(error, _EngineError):
        return f"{error}; its process was ended, and what it recorded is kept"
    code = re.search(r"exit codes of the workers are \{(.*?)\}", str(error))
    if code is None:
        return f"its process broke down: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    how = code[1].split("(")[0]
    hint = ", perhaps for want of memory" if how == "SIGKILL" else ""
    return f"its process was ended by {how}{hint}; what it recorded is kept"


def _begin(parent: int) -> None:
    """Set a worker up: Ctrl-C reaches it through its parent alone, and it ends when its parent does."""
    skip_last_collection()
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # With psutil, loky replaces a worker that uses 300 MB more than at first: each run would pay the imports again.
    process_executor._USE_PSUTIL = False

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGKILL)  # every file is written whole or not at all

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _work(execute: Execute, echo: Echo, job: Job) -> Outcome:
    with _into_log(job) if echo == "none" else contextlib.nullcontext():
        try:
            return execute(job, echo)
        except KeyboardInterrupt:
            return Outcome(job.run_id, "interrupted", "interrupted", job.log, 0.0)


@contextlib.contextmanager
def _into_log(job: Job) -> Iterator[None]:
    """What libraries print past Python's logging goes to the run's log, and not across a display."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    try:
        with contextlib.suppress(OSError):  # the run itself will say that there is no room for a log
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
