"""launcher=submitit_local, really run: processes of this machine that finish, fail, die, and reach time limits."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from afterkernel.errors import UserError
from afterkernel.sweep.launchers import submitit_jobs
from afterkernel.sweep.launchers.submitit_local import SubmititLocal

pytest.importorskip("submitit", reason="needs submitit: pip install 'afterkernel[submitit]'")


def test_a_job_that_dies_is_one_failed_run_and_the_others_go_on(stand_in, make_jobs, told, folder):
    tell = told()
    jobs = make_jobs(
        a={}, b={"act": "kill"}, c={"act": "exit"}, d={"act": "raise"}, e={"act": "fail"}, f={"act": "unreadable"}, g={}
    )
    SubmititLocal(jobs=2, cpus=3, poll_s=0.1).launch(jobs, tell)
    assert tell.states == {"a": "finished", "g": "finished"} | dict.fromkeys("bcdef", "failed")
    sentences = {name: outcome.sentence for name, outcome in tell.outcomes.items()}
    assert "killed by SIGKILL" in sentences["b"]
    assert "exit code 3" in sentences["c"]
    assert "no space left" in sentences["d"]
    assert sentences["e"] == "ValueError: on purpose"
    assert "exit code 0" in sentences["f"]
    assert sentences["a"].startswith("3|")
    for name in "bcdf":
        assert Path(tell.outcomes[name].sentence.partition("; see ")[2]).is_file()
    # Nothing that could be unpickled stays behind.
    (kept,) = (folder / submitit_jobs.FOLDER).iterdir()
    assert {path.suffix for path in kept.iterdir()} <= {".out"}


def test_no_more_than_jobs_run_at_once(stand_in, make_jobs, told, folder):
    tell = told()
    # Each waits for its neighbour, so that two must run at once; a third that began meanwhile would be seen.
    others = {"a": "b", "b": "a", "c": "d", "d": "c"}
    jobs = make_jobs(**{name: {"act": "await", "other": other, "then_s": 0.5} for name, other in others.items()})
    SubmititLocal(jobs=2, poll_s=0.1).launch(jobs, tell)
    assert tell.states == dict.fromkeys("abcd", "finished")
    assert set(tell.begun_ids) == set("abcd")
    begun = [float((folder / name / "begun.0").read_text().split()[1]) for name in "abcd"]
    ended = [float((folder / name / "ended").read_text().split()[1]) for name in "abcd"]
    at_once = [sum(b <= moment < e for b, e in zip(begun, ended, strict=True)) for moment in begun]
    assert max(at_once) == 2


def test_no_job_begins_once_told_to_stop_and_those_that_run_end(stand_in, make_jobs, told, folder):
    tell = told(stop_after=1)
    jobs = make_jobs(a={"act": "await", "other": "b"}, b={"act": "await", "other": "a", "then_s": 1.0}, c={}, d={})
    SubmititLocal(jobs=2, poll_s=0.1).launch(jobs, tell)
    assert tell.states == {"a": "finished", "b": "finished"}
    assert not (folder / "c").exists()


def test_no_jobs_do_nothing(told, folder):
    tell = told()
    SubmititLocal().launch([], tell)
    assert tell.outcomes == {}
    assert not folder.exists()


def test_at_its_time_limit_a_job_stops_in_order_and_goes_on_as_often_as_it_may(stand_in, make_jobs, told, folder):
    tell = told()
    jobs = make_jobs(a={"act": "sleep", "sleep_s": 600}, b={"act": "sleep", "sleep_s": 600, "times": 9})
    SubmititLocal(jobs=2, timeout_min=1, signal_delay_s=45, max_requeues=1, poll_s=0.1).launch(jobs, tell)
    assert tell.states == {"a": "finished", "b": "failed"}
    assert "time limit of 1 min once more after 1 requeues" in tell.outcomes["b"].sentence
    for name in "ab":
        assert len(list((folder / name).glob("begun.*"))) == 2
        assert (folder / name / "stopped").exists()


def test_ctrl_c_stops_what_runs_and_passes_on(stand_in, make_jobs, told, folder):
    def interrupt():
        while not all((folder / name / "begun.0").exists() for name in "ab"):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    tell = told()
    jobs = make_jobs(
        a={"act": "sleep", "sleep_s": 600}, b={"act": "deaf", "sleep_s": 600}, c={"act": "sleep", "sleep_s": 600}
    )
    with pytest.raises(KeyboardInterrupt):
        SubmititLocal(jobs=2, poll_s=0.1).launch(jobs, tell)
    thread.join()
    assert tell.outcomes == {}
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


@pytest.mark.parametrize(
    ("visible", "gpus", "seen"),
    [("5,7", None, {"5,7"}), ("5,7", 1, {"5", "7"}), ("5,7", 0, {""})],
)
def test_each_job_sees_the_gpus_that_it_was_given(stand_in, make_jobs, told, monkeypatch, visible, gpus, seen):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    tell = told()
    # Each waits for the other, so that both hold their GPU at the same time.
    jobs = make_jobs(a={"act": "await", "other": "b"}, b={"act": "await", "other": "a"})
    launcher = SubmititLocal(jobs=2, gpus=gpus, poll_s=0.1)
    launcher.check()
    launcher.launch(jobs, tell)
    assert {outcome.sentence.split("|")[1] for outcome in tell.outcomes.values()} == seen


def test_more_gpus_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"shows 2 GPUs; use launcher.jobs=2"):
        SubmititLocal(jobs=4, gpus=1).check()
    with pytest.raises(UserError, match=r"launcher.gpus=3"):
        SubmititLocal(jobs=1, gpus=3).check()


def test_a_signal_that_leaves_no_time_is_refused():
    with pytest.raises(UserError, match=r"launcher.signal_delay_s=40 .* at most 30"):
        SubmititLocal(timeout_min=1, signal_delay_s=40).check()


def test_without_submitit_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(submitit_jobs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'afterkernel\[submitit\]'"):
        SubmititLocal().check()
