"""Worker processes that die or misbehave: the sweep reports it and never waits for ever."""

from concurrent.futures import Future

import pytest

from afterkernel.sweep.launchers import processes
from afterkernel.sweep.launchers.processes import run_in_processes

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
def test_whatever_a_process_raises_is_one_failed_run(monkeypatch, make_jobs, told, answer):
    monkeypatch.setattr(processes, "ProcessPoolExecutor", pool_that(answer))
    tell = told()
    run_in_processes(make_jobs(a={}, b={}, c={}), tell, [{}, {}], "none")
    assert tell.states == dict.fromkeys("abc", "failed")
    assert type(answer).__name__ in tell.outcomes["a"].sentence


def test_a_process_that_cannot_be_served_ends_the_sweep(monkeypatch, make_jobs, told):
    monkeypatch.setattr(processes, "ProcessPoolExecutor", pool_that(ValueError("no"), fail))
    monkeypatch.setattr(processes, "GRACE_S", 0.1)
    with pytest.raises(RuntimeError, match="no shutting down"):
        run_in_processes(make_jobs(a={}, b={}), told(), [{}], "none")
