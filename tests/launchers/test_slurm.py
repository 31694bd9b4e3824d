"""launcher=slurm, really run on a one-node cluster (make test-slurm), and its checks, which need none."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import standin

from afterkernel.errors import UserError
from afterkernel.launchers import slurm
from afterkernel.launchers.engines import slurm_commands
from afterkernel.launchers.slurm import Slurm

pytest.importorskip("submitit", reason="needs submitit: pip install 'afterkernel[slurm]'")


def scontrol(*words):
    subprocess.run(["scontrol", *words], check=True)


def queue(*columns):
    """The jobs that are in SLURM's queue, by id: state and what else is asked for."""
    command = ["squeue", "--noheader", "--array", f"--format=%i|{'|'.join(columns)}"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(line.split("|", 1) for line in lines)


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch):
    """This file system shows a result at once."""
    monkeypatch.setattr(slurm, "LATE_S", 5.0)


def is_soon_empty():
    deadline = time.monotonic() + 300
    while queue("%t") and time.monotonic() < deadline:
        time.sleep(0.2)
    return queue("%t") == {}


def once_begun(folder, names, action, times=0):
    """A thread that acts once the jobs have begun."""

    def wait():
        deadline = time.monotonic() + 300
        while not all((folder / name / f"begun.{times}").exists() for name in names):
            if time.monotonic() > deadline:
                return
            time.sleep(0.1)
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.slurm
def test_a_job_that_dies_is_one_failed_run_and_the_others_continue(stand_in, make_jobs, recorder, folder, monkeypatch):
    monkeypatch.setenv("WANDB_ENTITY", "someone")
    events = recorder()
    jobs = make_jobs(
        a={}, b={"act": "kill"}, c={"act": "exit"}, d={"act": "raise"}, e={"act": "fail"}, f={"act": "unreadable"}, g={}
    )
    launcher = Slurm(jobs=2, memory_gb=0.5, poll_s=0.5, sbatch=["nice=1"], setup=["export STEP=1"])
    launcher.check()
    launcher.launch(jobs, events, standin.execute)
    assert events.states == {"a": "finished", "g": "finished"} | dict.fromkeys("bcdef", "failed")
    sentences = {name: outcome.message for name, outcome in events.outcomes.items()}
    assert "killed by SIGKILL" in sentences["b"]
    assert "exit code 3" in sentences["c"]
    assert "OSError: no space left" in sentences["d"]
    assert sentences["e"] == "ValueError: on purpose"
    assert "left no result" in sentences["f"] or "without a result (exit code 0" in sentences["f"]
    threads, _, entity = sentences["a"].split("|")
    assert (threads, entity) == ("1", "someone")
    for name in "bcdf":
        assert Path(events.outcomes[name].message.partition("; see ")[2]).is_file()
    (kept,) = (folder / ".submitit").iterdir()
    assert {path.suffix for path in kept.iterdir()} == {".out", ".sh"}
    script = next(kept.glob("*.sh")).read_text()
    assert "--array=0-6%2" in script
    assert "--mem=512M" in script
    assert "--nice=1" in script


@pytest.mark.slurm
def test_time_limits_pre_emption_and_requeueing_bring_a_job_back(stand_in, make_jobs, recorder, folder):
    """All of SLURM's ways at once, since its time limits are minutes long.

    `limit` stops in order and is requeued by submitit, `often` too until no requeue is left; `deaf` ignores signals and
    SLURM kills it; `again` is requeued by hand, without warning.
    """
    events = recorder()
    sleep = {"act": "sleep", "sleep_s": 600}
    jobs = make_jobs(
        limit=sleep,
        often=sleep | {"times": 9},
        deaf={"act": "deaf", "sleep_s": 600},
        again={"act": "obey", "sleep_s": 600},
    )

    def requeue():
        (job_id,) = [name for name, task in queue("%K").items() if task == "3"]
        scontrol("requeue", job_id)

    launcher = Slurm(timeout_min=1, signal_delay_s=15, max_requeues=1, poll_s=1)
    launcher.check()
    thread = once_begun(folder, ["again"], requeue)
    launcher.launch(jobs, events, standin.execute)
    thread.join()
    assert events.states == {"limit": "finished", "again": "finished", "often": "failed", "deaf": "failed"}
    assert "time limit of 1 min once more after 1 requeues" in events.outcomes["often"].message
    assert "SLURM killed it at its time limit" in events.outcomes["deaf"].message
    begun = {job.run_id: len(list((folder / job.run_id).glob("begun.*"))) for job in jobs}
    assert begun == {"limit": 2, "often": 2, "deaf": 1, "again": 2}
    stopped = {job.run_id for job in jobs if (folder / job.run_id / "stopped").exists()}
    assert stopped == {"limit", "often"}


@pytest.mark.slurm
def test_a_pre_empted_job_comes_back(stand_in, make_jobs, recorder, folder):
    """Jobs of the partition `high` push those of `low` off the node, and SLURM requeues these."""
    high = []

    def push_off():
        command = ["sbatch", "--partition=high", "--cpus-per-task=4", "--output=/dev/null", "--wrap=sleep 2"]
        high.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    thread = once_begun(folder, ["a"], push_off)
    events = recorder()
    Slurm(partition="low", timeout_min=5, poll_s=0.5).launch(
        make_jobs(a={"act": "sleep", "sleep_s": 600}), events, standin.execute
    )
    thread.join()
    assert high
    assert events.states == {"a": "finished"}
    assert len(list((folder / "a").glob("begun.*"))) == 2


@pytest.mark.slurm
def test_no_job_begins_after_a_stop_and_running_jobs_end(stand_in, make_jobs, recorder, folder):
    events = recorder(stop_after=1)
    jobs = make_jobs(a={"act": "await", "other": "b"}, b={"act": "await", "other": "a", "then_s": 5.0}, c={}, d={})
    Slurm(jobs=2, poll_s=0.1).launch(jobs, events, standin.execute)
    assert {"a", "b"} <= set(events.outcomes)
    assert set(events.states.values()) == {"finished"}
    assert not (folder / "d").exists()
    assert is_soon_empty()


@pytest.mark.slurm
def test_ctrl_c_cancels_what_runs_and_what_waits(stand_in, make_jobs, recorder, folder):
    thread = once_begun(folder, ["a", "b"], lambda: os.kill(os.getpid(), signal.SIGINT))
    events = recorder()
    jobs = make_jobs(**{name: {"act": "sleep", "sleep_s": 600} for name in "abcd"})
    with pytest.raises(KeyboardInterrupt):
        Slurm(jobs=2, poll_s=0.2).launch(jobs, events, standin.execute)
    thread.join()
    assert events.outcomes == {}
    assert is_soon_empty()
    assert not (folder / "c").exists()


@pytest.mark.slurm
def test_a_job_cancelled_by_hand_is_one_failed_run(stand_in, make_jobs, recorder, folder):
    thread = once_begun(
        folder, ["a"], lambda: subprocess.run(["scancel", next(name for name in queue("%K"))], check=True)
    )
    events = recorder()
    Slurm(poll_s=0.2).launch(make_jobs(a={"act": "sleep", "sleep_s": 600}), events, standin.execute)
    thread.join()
    assert events.states == {"a": "failed"}
    assert "it was cancelled in SLURM" in events.outcomes["a"].message


@pytest.mark.slurm
def test_more_jobs_than_an_array_holds_come_in_several(stand_in, make_jobs, recorder, folder, monkeypatch):
    monkeypatch.setattr(slurm_commands, "largest_array", lambda: 2)
    events = recorder()
    Slurm(jobs=2, poll_s=0.2).launch(make_jobs(a={}, b={}, c={}), events, standin.execute)
    assert events.states == dict.fromkeys("abc", "finished")
    assert len(list(folder.glob(".submitit/*/*_submission.sh"))) == 2


@pytest.mark.slurm
def test_a_refusal_of_sbatch_is_reported_in_one_sentence(stand_in, make_jobs, recorder):
    with pytest.raises(UserError, match=r"sbatch refused the jobs: .*invalid partition specified: nowhere"):
        Slurm(partition="nowhere").launch(make_jobs(a={}, b={}), recorder(), standin.execute)


def test_a_missing_submitit_is_reported_with_what_to_install(monkeypatch):
    monkeypatch.setattr(slurm.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'afterkernel\[slurm\]'"):
        Slurm().check()


def test_no_jobs_do_nothing(recorder, folder):
    Slurm().launch([], recorder(), standin.execute)
    assert not folder.exists()


def test_a_missing_slurm_is_reported_in_one_sentence():
    with pytest.raises(UserError, match=r"the command sbatch was not found on this machine; .* launcher=local"):
        Slurm().check()


def test_what_is_no_option_of_sbatch_is_refused(installed):
    installed("sbatch", "squeue", "scancel", "scontrol")
    with pytest.raises(UserError, match=r"launcher.sbatch=\[--nice=3\] is not an option of sbatch: write NAME=VALUE"):
        Slurm(sbatch=["--nice=3"]).check()
    with pytest.raises(UserError, match=r"launcher.signal_delay_s=90 leaves no time of launcher.timeout_min=1: .* 15"):
        Slurm(timeout_min=1).check()


@pytest.mark.parametrize(
    ("state", "code", "sentence"),
    [
        ("FAILED", "768", "exit code 3"),
        ("FAILED", "35072", "killed by SIGKILL, as the system does when memory is short"),
        ("FAILED", "11", "killed by SIGSEGV"),
        ("OUT_OF_MEMORY", "0", "raise launcher.memory_gb"),
        ("NODE_FAIL", "0", "its node failed"),
        ("", "", "SLURM no longer lists it"),
    ],
)
def test_the_end_of_a_job_is_described_in_words(state, code, sentence):
    assert sentence in slurm_commands.describe_end(state, code)
