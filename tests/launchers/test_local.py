"""launcher=local, really run: jobs that finish, fail and die in worker processes, one or several at once."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import standin
import torch

from afterkernel import memory
from afterkernel.launchers import local
from afterkernel.launchers.engines import worker_processes
from afterkernel.launchers.local import Local

pytestmark = pytest.mark.usefixtures("stand_in")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_job_that_dies_is_one_failed_run_and_the_others_continue(make_jobs, recorder, processes):
    events = recorder()
    jobs = make_jobs(
        a={}, b={"act": "kill"}, c={"act": "exit"}, d={"act": "raise"}, e={"act": "fail"}, f={"act": "unreadable"}, g={}
    )
    Local(processes=processes).launch(jobs, events, standin.execute)
    assert events.states == {"a": "finished", "g": "finished"} | dict.fromkeys("bcdef", "failed")
    sentences = {name: outcome.message for name, outcome in events.outcomes.items()}
    assert "ended by SIGKILL, perhaps because memory ran out" in sentences["b"]
    assert "ended by EXIT" in sentences["c"]
    assert "no space left" in sentences["d"]
    assert sentences["e"] == "ValueError: on purpose"
    assert "ended by EXIT" in sentences["f"]


def test_no_more_than_processes_run_at_once(make_jobs, recorder, folder):
    events = recorder()
    # Each waits for its neighbour, so that two must run at once; a third that began meanwhile would be seen.
    others = {"a": "b", "b": "a", "c": "d", "d": "c"}
    jobs = make_jobs(**{name: {"act": "await", "other": other, "then_s": 0.5} for name, other in others.items()})
    Local(processes=2).launch(jobs, events, standin.execute)
    assert events.states == dict.fromkeys("abcd", "finished")
    assert set(events.begun_ids) == set("abcd")
    begun = [float((folder / name / "begun.0").read_text().split()[1]) for name in "abcd"]
    ended = [float((folder / name / "ended").read_text().split()[1]) for name in "abcd"]
    at_once = [sum(b <= moment < e for b, e in zip(begun, ended, strict=True)) for moment in begun]
    assert max(at_once) == 2


def test_no_job_begins_after_a_stop_and_those_that_run_end(make_jobs, recorder, folder):
    events = recorder(stop_after=1)
    jobs = make_jobs(a={"act": "await", "other": "b"}, b={"act": "await", "other": "a", "then_s": 1.0}, c={}, d={})
    Local(processes=2).launch(jobs, events, standin.execute)
    assert events.states == {"a": "finished", "b": "finished"}
    assert not (folder / "c").exists()


def test_no_jobs_do_nothing(recorder, folder):
    events = recorder()
    Local().launch([], events, standin.execute)
    assert events.outcomes == {}
    assert not folder.exists()


def test_ctrl_c_stops_what_runs_and_passes_on(make_jobs, recorder, folder, monkeypatch):
    monkeypatch.setattr(worker_processes, "GRACE_S", 3.0)

    def interrupt():
        while not all((folder / name / "begun.0").exists() for name in "ab"):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    events = recorder()
    jobs = make_jobs(
        a={"act": "sleep", "sleep_s": 600}, b={"act": "deaf", "sleep_s": 600}, c={"act": "sleep", "sleep_s": 600}
    )
    with pytest.raises(KeyboardInterrupt):
        Local(processes=2).launch(jobs, events, standin.execute)
    thread.join()
    assert events.outcomes == {}
    assert not (folder / "c").exists()
    assert (folder / "a" / "stopped").exists()
    processes = [(folder / name / "begun.0").read_text().split()[0] for name in "ab"]
    deadline = time.monotonic() + 300  # a signal takes its time on a busy machine
    while any(map(is_alive, processes)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(process: str) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def test_jobs_at_once_divide_cores_and_gpus(make_jobs, recorder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    monkeypatch.setattr(local, "available_cores", lambda: 6)
    events = recorder()
    # Each waits for the other, so that both hold their GPU at the same time.
    jobs = make_jobs(a={"act": "await", "other": "b"}, b={"act": "await", "other": "a"})
    Local(processes=2).launch(jobs, events, standin.execute)
    assert {outcome.message.split("|")[0] for outcome in events.outcomes.values()} == {"3"}
    assert {outcome.message.split("|")[1] for outcome in events.outcomes.values()} == {"5", "7"}


def test_one_process_sees_the_whole_machine(make_jobs, recorder, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    events = recorder()
    Local().launch(make_jobs(a={}), events, standin.execute)
    assert events.outcomes["a"].message.split("|")[1] == "5,7"


def test_more_processes_than_jobs_leave_no_core_idle(monkeypatch):
    monkeypatch.setattr(local, "available_cores", lambda: 8)
    monkeypatch.setattr(local, "visible_gpus", lambda: [])
    assert [each["OMP_NUM_THREADS"] for each in Local(processes=8).environments(2)] == ["4", "4"]
    assert [each["OMP_NUM_THREADS"] for each in Local(processes=16).environments(20)] == ["1"] * 16


def test_auto_is_a_run_on_each_core_within_the_limit_of_the_container(monkeypatch):
    monkeypatch.setattr(local, "visible_gpus", lambda: [])
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert Local(processes="auto").environments(20) == [{}]
    assert Local(processes="auto").describe(20) == "launcher=local, one run at a time"
    monkeypatch.setattr(local, "available_cores", lambda: 4)
    assert [each["OMP_NUM_THREADS"] for each in Local(processes="auto").environments(20)] == ["1"] * 4
    assert Local(processes="auto").describe(20) == "launcher=local, 4 runs at a time"
    assert Local().describe(2) == "launcher=local, one run at a time (launcher.processes=auto for more)"
    assert Local().describe(1) == "launcher=local, one run at a time"
    assert Local(processes="auto").environments(1) == [{}]  # one run has the whole machine


@pytest.mark.parametrize(
    ("gpus", "gib", "most"), [(0, 100, 8), (0, 7, 3), (0, 1, 1), (2, 100, 2), (16, 100, 8), (2, 3, 1)]
)
def test_auto_leaves_room_for_each_run_on_the_gpus_and_in_memory(gpus, gib, most, monkeypatch):
    monkeypatch.setattr(local, "available_cores", lambda: 8)
    monkeypatch.setattr(local, "visible_gpus", lambda: [str(index) for index in range(gpus)])
    monkeypatch.setattr(memory, "free_bytes", lambda device: gib * 1024**3)
    assert len(Local(processes="auto").environments(20)) == most
