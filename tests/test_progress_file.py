"""RUN_ID/locks/NUMBER.progress: written regularly and atomically, removed at the end, and its errors end no run."""

import json
import shutil
import threading
import time

import pytest

from afterkernel.errors import LockLostError
from afterkernel.progress.work import Progress, RunStages, Stage
from afterkernel.runs import progress_file as module
from afterkernel.runs.progress_file import ProgressWriter, read_progress, writing_progress
from afterkernel.runs.run_lock import RunLock, run_lock
from afterkernel.sweep.progress import current_progress

REPORT = Progress("SVM exact", "ntk: SVM exact, gap 3e-07", None, None, 0.5, 20.0, None, 1.0, 2.0)


def wait_for(run_dir):
    deadline = time.monotonic() + 300
    while not list(run_dir.glob("locks/*.progress")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def files(run_dir):
    return sorted(path.relative_to(run_dir).as_posix() for path in run_dir.rglob("*") if path.is_file())


def test_it_exists_during_the_run_and_is_removed_at_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    with run_lock(tmp_path) as lock:
        with writing_progress(lock), Stage("training", 10) as training:
            training.update(2.5, "epoch 3 of 10")
            wait_for(tmp_path)
            found = read_progress(tmp_path)
            assert (found.stage, found.words, found.fraction) == ("training", "training: epoch 3 of 10", 0.25)
            assert found.began <= found.written <= time.time()
        assert files(tmp_path) == ["locks/0001.json"]
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_it_is_removed_when_the_run_is_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FIRST_S", 0.01)

    def broken_off():
        with run_lock(tmp_path) as lock, writing_progress(lock):
            wait_for(tmp_path)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert files(tmp_path) == ["locks/0001.json"]


class Lock(RunLock):
    def __init__(self):
        self.checks = 0

    def check(self):
        self.checks += 1


class Ended(threading.Event):
    def __init__(self, looks):
        super().__init__()
        self.looks, self.waits = looks, []

    def wait(self, timeout=None):
        self.waits.append(timeout)
        return len(self.waits) == self.looks


class Counts(ProgressWriter):
    times = 0

    def write(self, report):
        self.times += 1


def test_it_is_written_at_once_and_then_every_other_second(tmp_path):
    writer, ended = Counts(tmp_path / "0001.progress"), Ended(4)
    module._keep(writer, RunStages(), ended, Lock())
    assert ended.waits == [0.5, 2.0, 2.0, 2.0]
    assert writer.times == 3


def test_nothing_is_written_any_more_once_the_lock_is_lost(tmp_path):
    class Lost(Lock):
        def check(self):
            super().check()
            if self.checks == 3:
                raise LockLostError

    writer, ended = Counts(tmp_path / "0001.progress"), Ended(100)
    module._keep(writer, RunStages(), ended, Lost())
    assert (writer.times, len(ended.waits)) == (2, 3)


def test_a_process_that_lost_its_run_changes_nothing_of_the_next_one(tmp_path):
    """It may have been paused anywhere: between its look at the lock and the write, or at its end."""
    first, second = tmp_path / "locks" / "0001.progress", tmp_path / "locks" / "0002.progress"
    with run_lock(tmp_path) as lock:
        writer = ProgressWriter(first)
        writer.write(REPORT)
        first.with_name(".0001.progress.tmp").write_text("{")
        lock.release()  # as if it had gone stale
        with run_lock(tmp_path) as later:
            assert later.number == 2
            news = Progress(**{**REPORT.__dict__, "words": "of the next one"})
            ProgressWriter(second).write(news)
            writer.write(Progress(**{**REPORT.__dict__, "words": "late"}))
            assert read_progress(tmp_path) == news
            writer.remove()
            assert read_progress(tmp_path) == news
            assert files(tmp_path) == ["locks/0002.json", "locks/0002.progress"]
            lock.beat()
            with pytest.raises(LockLostError):
                lock.check()


def test_it_is_replaced_atomically_and_only_if_it_changed(tmp_path):
    with run_lock(tmp_path) as lock:
        path = lock.path.with_suffix(".progress")
        writer = ProgressWriter(path)
        writer.write(REPORT)
        assert read_progress(tmp_path) == REPORT
        first = path.stat()
        writer.write(Progress(**{**REPORT.__dict__, "written": 4.0, "run_left_s": 18.0}))
        assert path.stat().st_ino == first.st_ino
        with path.open() as held:
            writer.write(Progress(**{**REPORT.__dict__, "words": "later"}))
            assert json.load(held)["words"] == REPORT.words
        assert read_progress(tmp_path).words == "later"
        assert files(tmp_path) == ["locks/0001.json", "locks/0001.progress"]


def test_a_disk_that_takes_nothing_ends_no_run(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    with run_lock(tmp_path / "run") as lock, writing_progress(lock):
        shutil.rmtree(tmp_path / "run")
        (tmp_path / "run").write_text("no folder")
        time.sleep(0.1)
    writer = ProgressWriter(tmp_path / "absent" / "locks" / "0001.progress")
    writer.write(REPORT)
    with run_lock(tmp_path / "absent"):
        writer.write(REPORT)  # it had not been written, so that it is news
        assert read_progress(tmp_path / "absent") == REPORT


def test_progress_of_a_killed_process_counts_only_while_its_lock_is_valid(tmp_path):
    with run_lock(tmp_path) as lock:
        ProgressWriter(lock.path.with_suffix(".progress")).write(REPORT)
        assert current_progress(tmp_path) == REPORT
    assert current_progress(tmp_path) is None
    with run_lock(tmp_path) as lock, writing_progress(lock):  # a process that takes the run over starts a new file
        assert current_progress(tmp_path) is None
        assert files(tmp_path) == ["locks/0002.json"]
    assert current_progress(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 2}',
        '{"version": 1}',
        json.dumps({"version": 1, **REPORT.__dict__, "words": 3}),
    ],
)
def test_an_invalid_progress_file_is_ignored(tmp_path, text):
    with run_lock(tmp_path) as lock:
        lock.path.with_suffix(".progress").write_text(text)
        assert read_progress(tmp_path) is None
        lock.path.with_suffix(".progress").unlink()
        assert read_progress(tmp_path) is None
    assert read_progress(tmp_path / "absent") is None
