"""One job in this process: what a run that fails, or that another process took over, leaves and reports."""

import json
from dataclasses import asdict, replace

import pytest

from afterkernel.launchers.job import Job
from afterkernel.runs import worker
from afterkernel.runs.failure import read_failure
from afterkernel.runs.run_lock import LockOwner


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Job("a", {}, str(tmp_path / "s" / "a"), str(tmp_path))


def fail_with(monkeypatch, error, meanwhile=lambda lock: None):
    """The run raises an error, after something else has happened to its folder."""

    def run(job, run_dir, lock):
        meanwhile(lock)
        raise error

    monkeypatch.setattr(worker, "_run", run)


def taken_over(lock: object) -> None:
    """Another machine's process takes the next lock, as it may once this one has been paused for long."""
    path = lock.path.with_name(f"{lock.number + 1:04d}.json")
    path.write_text(json.dumps(asdict(replace(lock.owner, machine="locked", token="other"))))


def test_a_failure_is_kept(job, tmp_path, monkeypatch):
    fail_with(monkeypatch, FileNotFoundError(2, "No such file or directory", "x"))
    assert worker.execute(job, prints=False).state == "failed"
    assert "No such file" in read_failure(tmp_path / "s" / "a")


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file or directory", "x"), ValueError("half a file")])
def test_what_fails_since_another_process_has_taken_over_is_no_failure(job, tmp_path, monkeypatch, error):
    fail_with(monkeypatch, error, taken_over)
    outcome = worker.execute(job, prints=False)
    assert (outcome.state, outcome.message) == ("locked", "a was taken over by another process")
    assert read_failure(tmp_path / "s" / "a") is None


def test_a_lock_beyond_the_last_number_is_one_failed_run(job, tmp_path):
    owner = LockOwner("host", "locked", "1@1", "token", 0.0, released=True)
    (tmp_path / "s" / "a" / "locks").mkdir(parents=True)
    (tmp_path / "s" / "a" / "locks" / "999999999999999999.json").write_text(json.dumps(asdict(owner)))
    outcome = worker.execute(job, prints=False)
    assert (outcome.state, outcome.user_error) == ("failed", True)
    assert "999999999999999999, the largest number allowed: remove that file" in outcome.message
