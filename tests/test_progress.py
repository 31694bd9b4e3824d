"""Stages of work: what they report, to whom, and that they cost nothing outside a run."""

import logging
import threading

import pytest

from afterkernel.progress import work as module
from afterkernel.progress.work import Stage, progress, report, watched


class FakeTime:
    """A clock that a test advances."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def time(self):
        return 1e9 + self.now


@pytest.fixture
def clock(monkeypatch):
    fake = FakeTime()
    monkeypatch.setattr(module, "time", fake)
    return fake


def test_stages_are_listed_from_the_outermost_to_the_innermost(clock):
    with watched() as run:
        assert run.progress().words == "starting"
        with Stage("training", 10) as training:
            training.update(2.5, "epoch 3 of 10, loss 0.21")
            assert run.progress().words == "training: epoch 3 of 10, loss 0.21"
        with Stage("epoch 5 (snapshot 2 of 3)", 3, last=True), Stage("ntk"):
            with progress("Gram matrix", 8.0, unit="tile", units=4) as advance:
                assert run.progress().words == "epoch 5 (snapshot 2 of 3), ntk: Gram matrix, tile 1 of 4"
                advance(2.0)
                assert run.progress().words == "epoch 5 (snapshot 2 of 3), ntk: Gram matrix, tile 2 of 4"
                advance(2.0)
                assert run.progress().fraction == 0.5
            with Stage("SVM exact"):
                report("active set on 250 of 900 samples", step=1)
                report(step=12, gap=3.04e-7)
                current = run.progress()
                assert current.words.endswith("ntk: SVM exact, gap 3e-07, step 12, active set on 250 of 900 samples")
                assert (current.stage, current.fraction, current.silent_since) == ("SVM exact", None, None)
                report("polishing on 90 samples")
                assert run.progress().words.endswith("SVM exact, polishing on 90 samples")
    assert run.stages == []


def test_a_stage_that_raises_is_left(clock):
    with watched() as run:
        with pytest.raises(ValueError, match="x"), Stage("one"), Stage("two"):
            raise ValueError("x")
        assert run.stages == []


def test_the_time_left_follows_the_pace_after_a_break(clock):
    training = Stage("training", 10)
    training.start_at(4)
    assert training.left_s is None
    clock.now += 6
    training.update(6)
    assert training.left_s == pytest.approx(12)
    clock.now += 5  # no news: less is left
    assert training.left_s == pytest.approx(7)
    clock.now += 100
    assert training.left_s == 0


def test_the_run_s_end_is_known_from_the_first_snapshot_on(clock):
    with watched() as run:
        with Stage("training", 2) as training:
            clock.now += 10
            training.update(1, "epoch 2 of 2")
            current = run.progress()
            assert (current.left_s, current.run_left_s, current.run_fraction) == (pytest.approx(10), None, None)
        with Stage("epoch 0", 4, last=True) as snapshots:
            clock.now += 10
            snapshots.advance()
            current = run.progress()
            assert current.run_left_s == pytest.approx(30)
            assert current.run_fraction == pytest.approx(20 / 50)
            with progress("Gram matrix", 1.0) as advance:
                clock.now += 20
                advance(0.1)  # it alone takes longer than the snapshots before it
                assert run.progress().run_left_s == pytest.approx(180)


def test_a_stage_without_progress_reports_its_start(clock):
    with watched() as run, Stage("ntk"):
        clock.now += 5
        with Stage("SVM thundersvm"):
            clock.now += 12
            current = run.progress()
            assert current.words == "ntk: SVM thundersvm"
            assert current.written - current.silent_since == 12


def test_a_line_of_the_log_every_quarter_of_a_minute(clock, caplog):
    with caplog.at_level(logging.INFO), watched(), Stage("ntk"), progress("Gram matrix", 100.0) as advance:
        for _ in range(100):
            clock.now += 1
            advance(1.0)
    assert [record.getMessage() for record in caplog.records] == [
        f"ntk: Gram matrix, {15 * k} %, about {f'{100 - 15 * k} s' if k > 2 else f'1 min {40 - 15 * k} s'} left"
        for k in range(1, 7)
    ]
    assert all(record.on_display for record in caplog.records)


def test_lines_are_logged_also_outside_a_run(clock, caplog):
    with caplog.at_level(logging.INFO), progress("Gram matrix", 4.0) as advance:
        clock.now += 20
        advance(1.0)
        report(gap=0.5)  # outside a watched run
    assert [record.getMessage() for record in caplog.records] == ["Gram matrix: 25 %, about 1 min 0 s left"]


def test_another_thread_s_work_is_its_own():
    seen = []

    def other():
        report(gap=0.1)
        seen.append(module.is_watched())

    with watched() as run, Stage("here"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert run.progress().words == "here"
    assert seen == [False]
    assert not module.is_watched()
