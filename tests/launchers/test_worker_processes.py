"""Worker processes that die or misbehave: the sweep reports it and does not wait for ever."""

import ctypes
import os
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
import standin
import torch

from afterkernel.launchers.engines import worker_processes as processes
from afterkernel.launchers.engines.slurm_task import set_threads
from afterkernel.launchers.engines.worker_processes import run_in_processes
from afterkernel.launchers.job import THREAD_VARIABLES

pytestmark = pytest.mark.timeout(300)


def pool_that(answer, shut=lambda: None):
    """A pool of one process whose work ends with the exception `answer`, and that is shut by `shut`."""

    class Pool:
        def __init__(self, *_, **__):
            self.submitted = 0

        def submit(self, *_):
            self.submitted += 1
            future = Future()
            if self.submitted == 1:
                future.set_result(2**22)  # a process id that Linux does not give
            else:
                future.set_exception(answer)
            return future

        def shutdown(self, **_):
            shut()

    return Pool


def fail():
    raise RuntimeError("no shutting down")


@pytest.mark.parametrize("answer", [SystemExit(3), KeyboardInterrupt(), ValueError("no")])
def test_any_exception_of_a_process_is_one_failed_run(monkeypatch, make_jobs, recorder, answer):
    monkeypatch.setattr(processes, "ProcessPoolExecutor", pool_that(answer))
    events = recorder()
    run_in_processes(make_jobs(a={}, b={}, c={}), events, standin.execute, [{}, {}])
    assert events.states == dict.fromkeys("abc", "failed")
    assert type(answer).__name__ in events.outcomes["a"].message


def test_a_process_that_cannot_be_served_ends_the_sweep(monkeypatch, make_jobs, recorder):
    monkeypatch.setattr(processes, "ProcessPoolExecutor", pool_that(ValueError("no"), fail))
    monkeypatch.setattr(processes, "GRACE_S", 0.1)
    with pytest.raises(RuntimeError, match="no shutting down"):
        run_in_processes(make_jobs(a={}, b={}), recorder(), standin.execute, [{}])


def end_thread(name, run_dir):
    """As soon as a job has begun, end loky's thread of this name, as an error within it would."""

    def end():
        while not (run_dir / "begun.0").exists():
            time.sleep(0.01)
        for thread in threading.enumerate():
            if thread.name == name:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
        for thread in threading.enumerate():  # it notices only once it is awake
            if thread.name == "ExecutorManagerThread":
                with thread.shutdown_lock:
                    thread.thread_wakeup.wakeup()
                with thread.call_queue._notempty:
                    thread.call_queue._notempty.notify_all()

    threading.Thread(target=end, daemon=True).start()


THREADS_DIE = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@THREADS_DIE
@pytest.mark.timeout(60)
def test_a_dead_thread_of_the_engine_is_one_failed_run_and_its_process_ends(make_jobs, recorder, stand_in, folder):
    jobs = make_jobs(a={}, b={"act": "sleep", "sleep_s": 1000}, c={}, d={})
    end_thread("ExecutorManagerThread", folder / "b")
    events = recorder()
    run_in_processes(jobs, events, standin.execute, [{}])
    assert events.states == {"a": "finished", "b": "failed", "c": "finished", "d": "finished"}
    assert "the managing thread of joblib's engine ended" in events.outcomes["b"].message
    pid = (folder / "b" / "begun.0").read_text().split()[0]
    assert not is_running(pid)
    assert (folder / "c" / "begun.0").read_text().split()[0] != pid


@THREADS_DIE
@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["ExecutorManagerThread", "QueueFeederThread"])
def test_a_thread_of_the_engine_that_dies_between_jobs_costs_no_run(make_jobs, recorder, stand_in, folder, name):
    before = threading.enumerate()

    class Waits(recorder):
        def on_finish(self, outcome):
            if outcome.run_id == "a":
                for thread in [each for each in threading.enumerate() if each.name == name and each not in before]:
                    thread.join(20)
                    assert not thread.is_alive()
            return super().on_finish(outcome)

    jobs = make_jobs(a={"act": "sleep", "sleep_s": 0.0}, b={}, c={})
    events = Waits()
    end_thread(name, folder / "a")
    run_in_processes(jobs, events, standin.execute, [{}])
    assert set(events.states) == set("abc")
    assert events.states["b"] == events.states["c"] == "finished"


@pytest.mark.timeout(60)
def test_worker_threads_that_end_silently_end_the_sweep(monkeypatch, make_jobs, recorder):
    monkeypatch.setattr(processes, "LOOK_S", 0.05)
    monkeypatch.setattr(processes._WorkerThread, "run", lambda self: None)
    with pytest.raises(RuntimeError, match="threads that serve the worker processes have ended"):
        run_in_processes(make_jobs(a={}, b={}), recorder(), standin.execute, [{}])


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_task_sets_its_threads_for_what_is_imported_and_for_what_will_be(monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "7")
    before = torch.get_num_threads()
    try:
        set_threads(before + 1)
        assert torch.get_num_threads() == before + 1
        assert {os.environ[name] for name in THREAD_VARIABLES} == {str(before + 1)}
    finally:
        torch.set_num_threads(before)
