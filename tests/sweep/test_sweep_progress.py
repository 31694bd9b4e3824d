"""A sweep in progress, with a fake clock: counts, time left, rows, and how many files are read."""

import json
import re
import threading
import time

import pytest

from afterkernel.launchers.job import Job, Outcome
from afterkernel.progress import display as display_module
from afterkernel.progress.work import Progress
from afterkernel.runs.progress_file import ProgressWriter
from afterkernel.runs.run_lock import run_lock
from afterkernel.sweep import progress as module
from afterkernel.sweep.progress import RunProgress, SweepProgress, describe_progress
from afterkernel.sweep.run_sweep import SweepEvents


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def job(folder, name):
    return Job(name, {}, str(folder / name), str(folder))


def outcome(folder, name, state="finished", wall_s=10.0, **more):
    return Outcome(name, state, "why", str(folder / name / "run.log"), wall_s, **more)


def progress(**more):
    now = time.time()
    facts = {"stage": "ntk", "words": "epoch 1: ntk", "fraction": None, "left_s": None, "run_fraction": None}
    return Progress(**(facts | {"run_left_s": None, "silent_since": None, "began": now, "written": now} | more))


def test_counts_and_time_left(tmp_path, clock):
    tally = SweepProgress("s", 40, 3, clock)
    assert tally.summary() == "3 of 40 done, 37 to go"
    tally.on_start(job(tmp_path, "a"))
    tally.on_start(job(tmp_path, "b"))
    tally.on_start(job(tmp_path, "b"))  # again, as after a requeue
    clock.now = 10.0
    assert tally.summary() == "3 of 40 done, 2 running, 35 to go"
    tally.on_finish(outcome(tmp_path, "a"))
    tally.on_start(job(tmp_path, "c"))
    clock.now = 15.0
    # b should have ended, c has half of its time left, 34 wait; two at once
    assert tally.summary() == "4 of 40 done, 2 running, 34 to go, about 2 min 52 s left"
    tally.on_finish(outcome(tmp_path, "b", "failed"))
    tally.on_finish(outcome(tmp_path, "c", "locked"))
    assert tally.summary().startswith("4 of 40 done, 1 failed, 1 left to other processes, 34 to go, about")


def test_a_row_is_of_the_run_where_that_is_known_else_of_its_stage(tmp_path):
    run = RunProgress("a", tmp_path, 0.0)
    assert run.row(None, 5.0) == display_module.ProgressRow("a", "starting", None, "")
    run.report = progress(words="training: epoch 3 of 10", fraction=0.3, left_s=110.0)
    row = run.row(None, 30.0)
    assert (row.words, row.fraction) == ("training: epoch 3 of 10", 0.3)
    assert re.fullmatch(r"over 1 min \d+ s left", row.left)
    row = run.row(120.0, 30.0)
    assert 0.2 < row.fraction <= 30 / 120
    assert row.left.startswith("about 1 min")
    run.report = progress(run_left_s=10.0, written=time.time() - 4)
    row = run.row(120.0, 30.0)
    assert 30 / 36 <= row.fraction <= 1
    assert re.fullmatch(r"about [0-6] s left", row.left)


def test_a_stage_without_progress_is_shown_as_running():
    assert describe_progress(progress()) == "epoch 1: ntk"
    assert (
        describe_progress(progress(silent_since=time.time() + 100)) == "epoch 1: ntk"
    )  # another machine's clock is ahead
    assert re.fullmatch(
        r"epoch 1: ntk, running, 1 h 1\d min", describe_progress(progress(silent_since=time.time() - 4200))
    )
    assert describe_progress(None) == "starting"


def test_files_are_read_once_a_second_of_runs_in_progress_alone_and_in_turn(tmp_path, clock, monkeypatch):
    looked = []
    monkeypatch.setattr(module, "current_progress", lambda run_dir: looked.append(run_dir.name))
    tally = SweepProgress("s", 10_000, 0, clock)
    for number in range(100):
        tally.on_start(job(tmp_path, str(number)))
    tally.on_finish(outcome(tmp_path, "0"))
    clock.now = 1.0
    for _ in range(5):
        tally.view()
    assert looked == [str(number) for number in range(1, 41)]
    for second in (2, 3):
        clock.now = float(second)
        tally.view()
    assert looked == [str(number) for number in [*range(1, 100), *range(1, 22)]]


def test_the_whole_moves_with_its_parts(tmp_path, clock):
    tally = SweepProgress("s", 4, 1, clock)
    tally.on_start(job(tmp_path, "a"))
    with run_lock(tmp_path / "a") as lock:
        ProgressWriter(lock.path.with_suffix(".progress")).write(progress(run_left_s=30.0))
        clock.now = 10.0
        view = tally.view()
    assert view.heading.startswith("sweep s: 1 of 4 done, 1 running, 2 to go, about 1 min ")
    assert view.fraction == pytest.approx((1 + 10 / 40) / 4, abs=0.05)
    assert view.rows[0].words == "epoch 1: ntk"


def test_one_line_per_minute_where_runs_do_not_print_here(tmp_path, clock, monkeypatch):
    said, twice = [], threading.Event()

    def print_above(line):
        said.append(line)
        if len(said) == 2:
            twice.set()

    monkeypatch.setattr(module, "print_above", print_above)
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.01)
    tally = SweepProgress("s", 2, 0, clock)
    tally.on_start(job(tmp_path, "a"))
    with tally.shown(streams_output=False):
        assert twice.wait(60)
    assert set(said) == {"0 of 2 done, 1 running, 1 to go"}
    said.clear()
    with tally.shown(streams_output=True):
        assert "lines" not in {thread.name for thread in threading.enumerate()}


def test_outcomes_are_lines_and_warnings_follow_where_runs_do_not_print(tmp_path, clock, capsys):
    tally = SweepProgress("s", 3, 0, clock)
    for streams_output in (True, False):
        events = SweepEvents(tally, "continue", streams_output=streams_output)
        events.on_start(job(tmp_path, "a"))
        assert events.on_finish(outcome(tmp_path, "a", warnings=("the loss target was not reached",)))
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "[1/3] finished a in 10 s; about 20 s left",
        "[2/3] finished a in 10 s; about 10 s left",
    ]
    assert err.splitlines() == [f"  warning: the loss target was not reached (log: {tmp_path / 'a' / 'run.log'})"]
    assert not SweepEvents(tally, "stop", streams_output=True).on_finish(outcome(tmp_path, "b", "failed"))
    assert json.loads((tmp_path / "b" / "failure.json").read_text())["message"] == "why"
