"""A sweep in progress, with a fake clock: counts, time left, rows, and how many files are read."""

import json
import re
import threading
import time
from types import SimpleNamespace

import pytest

from afterkernel.config import Config
from afterkernel.launchers.job import Job, Outcome
from afterkernel.progress import display as display_module
from afterkernel.progress.work import Progress
from afterkernel.records import write_record
from afterkernel.runs.progress_file import ProgressWriter
from afterkernel.runs.run_lock import run_lock
from afterkernel.sweep import progress as module
from afterkernel.sweep.grid import PlannedRun
from afterkernel.sweep.outcome_line import describe_numbers
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
    assert tally.summary() == "3 of 40 done, 2 running, 35 to go, time left unknown until the first run ends"
    tally.on_finish(outcome(tmp_path, "a"))
    tally.on_start(job(tmp_path, "c"))
    clock.now = 15.0
    # b should have ended, c has half of its time left, 34 wait; two at once
    assert tally.summary() == "4 of 40 done, 2 running, 34 to go, 12 runs/min, about 2 min 52 s left"
    tally.on_finish(outcome(tmp_path, "b", "failed"))
    tally.on_finish(outcome(tmp_path, "c", "locked"))
    assert tally.summary().startswith("4 of 40 done, 1 failed, 1 left to other processes, 34 to go, 12 runs/min, about")


def test_a_row_is_of_the_run_where_that_is_known_else_of_its_stage(tmp_path):
    run = RunProgress("a", tmp_path, 0.0)
    assert run.row(None, 5.0).words == "starting a process, which loads packages: 5 s"
    assert run.row(None, 1.0) == display_module.ProgressRow("a", "starting", None, "")
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
    assert view.heading.startswith("sweep s: 1 of 4 done, 1 running, 2 to go, 90 runs/h, about 1 min ")
    assert view.fraction == pytest.approx((1 + 10 / 40) / 4, abs=0.05)
    assert view.rows[0].words == "epoch 1: ntk"


def test_off_a_terminal_a_line_appears_after_a_minute_without_one(tmp_path, clock, monkeypatch):
    said, twice = [], threading.Event()

    def print_above(line, where):
        said.append((clock.now, line))
        clock.now += 30.0
        if len(said) == 2:
            twice.set()

    monkeypatch.setattr(module, "print_above", print_above)
    tally = SweepProgress("s", 2, 0, clock)
    tally.on_start(job(tmp_path, "a"))
    tally.print_line("another")
    clock.now = 59.95  # before the thread starts: it really waits for what this clock lacks of a minute
    with tally.shown():
        assert not twice.wait(0.2)
        clock.now = 61.0
        assert twice.wait(60)
    assert said == [
        (0.0, "another"),
        (61.0, "0 of 2 done, 1 running, 1 to go, time left unknown until the first run ends"),
    ]


def planned(folder, name, *varied):
    config = Config()
    config.__dict__["identity"] = SimpleNamespace(evaluation_id="eval0")  # that of the records of `make_record`
    return PlannedRun((), varied, config, job(folder, name))


def test_a_finished_run_is_one_line_with_its_numbers(tmp_path, clock, capsys, make_record):
    for epoch, error, swap in ((0, 0.034, 0.771), (5, 0.5, 0.6), (10, 0.0114, 0.528)):
        numbers = {"svm_test_error": error, "swap_invariance": swap}
        write_record(tmp_path / "a", make_record(run_id="a", epoch=epoch, n_test=88, **numbers), 1)
    runs = [
        planned(tmp_path, "a", "arch=vgg", "training.lr=0.1", "seed=2"),
        planned(tmp_path, "b", "arch=vgg", "training.lr=0.1", "seed=3"),
        planned(tmp_path, "c", "+svm.tol=1e-3", "measure.tol=2"),
    ]
    events = SweepEvents(SweepProgress("s", 30, 11, clock), runs, "continue")
    for name in "abc":
        events.on_start(job(tmp_path, name))
    warned = {"warnings": ("the loss target was not reached",)}
    assert events.on_finish(outcome(tmp_path, "a", wall_s=6.2, **warned))
    assert events.on_finish(outcome(tmp_path, "b", wall_s=6.2, **warned))
    assert events.on_finish(outcome(tmp_path, "c", "locked"))
    out, err = capsys.readouterr()
    assert [line.partition(";")[0] for line in out.splitlines()] == [
        "[12/30] vgg lr 0.1 seed 2: NTK 3.4 % -> AK 1.1 %, swap 0.77 -> 0.53, 6 s",
        "[13/30] vgg lr 0.1 seed 3: 6 s",
        "[14/30] svm.tol 1e-3 measure.tol 2: left to another process: why",
    ]
    # A warning that two runs share is printed once, and counted at the end.
    assert err.splitlines() == [f"  warning: the loss target was not reached (log: {tmp_path / 'a' / 'run.log'})"]
    assert events.repeated == {"the loss target was not reached": 2}


def test_after_a_failure_the_sweep_continues_only_if_it_should(tmp_path, clock):
    for on_error, continues in (("continue", True), ("stop", False)):
        events = SweepEvents(SweepProgress("s", 1, 0, clock), [planned(tmp_path, "b")], on_error)
        assert events.on_finish(outcome(tmp_path, "b", "failed")) is continues
    assert json.loads((tmp_path / "b" / "failure.json").read_text())["message"] == "why"


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"gap": None, "separable": False}, "NTK 3.4 % (soft margin)"),
        ({"converged": False}, "NTK 3.4 % (SVM not converged)"),
        ({"kernels": ("conjugate",)}, "CK 3.4 %"),
    ],
)
def test_what_is_doubtful_is_said_in_the_line(tmp_path, make_record, facts, line):
    numbers = {"svm_test_error": 0.034, "swap_invariance": None, "n_test": 88}
    record = make_record(run_id="a", epoch=0, training_end="diverged", **(numbers | facts))
    write_record(tmp_path / "a", record, 1)
    assert describe_numbers(tmp_path / "a", "a", record.evaluation_id) == f"{line}, diverged after epoch 0"
