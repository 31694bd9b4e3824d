"""RUN_ID/progress.json: written now and then, whole or not at all, gone at the end, never the end of a run."""

import json
import threading
import time

import pytest

from afterkernel import progress_file as module
from afterkernel.progress import Report, Work, stage
from afterkernel.progress_file import PROGRESS, Writer, read_progress, watching
from afterkernel.runs.run_lock import run_lock
from afterkernel.sweep.tally import current_report

REPORT = Report("SVM exact", "ntk: SVM exact, gap 3e-07", None, None, 0.5, 20.0, None, 1.0, 2.0)


def wait_for(path):
    deadline = time.monotonic() + 300
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_is_there_while_the_run_is_and_gone_at_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    with watching(tmp_path), stage("training", 10) as training:
        training.at(2.5, "epoch 3 of 10")
        wait_for(tmp_path / PROGRESS)
        found = read_progress(tmp_path)
        assert (found.stage, found.words, found.fraction) == ("training", "training: epoch 3 of 10", 0.25)
        assert found.began <= found.written <= time.time()
    assert list(tmp_path.iterdir()) == []
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_it_is_gone_when_the_run_is_broken_off(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FIRST_S", 0.01)

    def broken_off():
        with watching(tmp_path):
            wait_for(tmp_path / PROGRESS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert list(tmp_path.iterdir()) == []


def test_it_is_written_at_once_and_then_every_other_second(tmp_path):
    waits = []

    class Ended(threading.Event):
        def wait(self, timeout=None):
            waits.append(timeout)
            return len(waits) == 4

    class Counts(Writer):
        times = 0

        def write(self, report):
            self.times += 1

    writer = Counts(tmp_path / PROGRESS)
    module._keep(writer, Work(), Ended())
    assert waits == [0.5, 2.0, 2.0, 2.0]
    assert writer.times == 3


def test_it_is_replaced_as_a_whole_and_left_alone_where_it_says_the_same(tmp_path):
    writer = Writer(tmp_path / PROGRESS)
    writer.write(REPORT)
    assert read_progress(tmp_path) == REPORT
    first = (tmp_path / PROGRESS).stat()
    writer.write(Report(**{**REPORT.__dict__, "written": 4.0, "run_left_s": 18.0}))
    assert (tmp_path / PROGRESS).stat().st_ino == first.st_ino
    with (tmp_path / PROGRESS).open() as held:
        writer.write(Report(**{**REPORT.__dict__, "words": "later"}))
        assert json.load(held)["words"] == REPORT.words
    assert read_progress(tmp_path).words == "later"
    assert [path.name for path in tmp_path.iterdir()] == [PROGRESS]


def test_a_disk_that_takes_nothing_ends_no_run(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with watching(blocked / "run"):
        time.sleep(0.1)
    writer = Writer(tmp_path / "absent" / PROGRESS)
    writer.write(REPORT)
    (tmp_path / "absent").mkdir()
    writer.write(REPORT)  # it had not been written, so that it is news
    assert read_progress(tmp_path / "absent") == REPORT


def test_what_a_killed_process_left_counts_only_while_somebody_works_there(tmp_path):
    Writer(tmp_path / PROGRESS).write(REPORT)
    assert current_report(tmp_path) is None
    with run_lock(tmp_path):
        assert current_report(tmp_path) == REPORT
        with watching(tmp_path):  # whoever takes the run over begins anew
            assert current_report(tmp_path) is None
    assert current_report(tmp_path) is None


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
def test_a_file_that_is_none_says_nothing(tmp_path, text):
    (tmp_path / PROGRESS).write_text(text)
    assert read_progress(tmp_path) is None
    (tmp_path / PROGRESS).unlink()
    assert read_progress(tmp_path) is None
