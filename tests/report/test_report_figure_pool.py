"""Figures drawn by other processes: the same files and errors, and no process remains."""

import os
import signal
import time
from pathlib import Path

import pytest
from joblib.externals import loky

from afterkernel.errors import UserError
from afterkernel.report import build
from afterkernel.report import figure_pool as pools
from afterkernel.report.figure_pool import figure_pool


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(loky, "cpu_count", lambda: 2)


def is_here(executor):
    return executor.submit(os.getpid).result() == os.getpid()


def fail(path):
    Path(path).read_text()


def end():
    os.kill(os.getpid(), signal.SIGKILL)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


def test_a_report_is_the_same_wherever_its_figures_are_drawn(write_run, tmp_path, monkeypatch, two_cores):
    for seed in range(5):
        write_run({0: 0.1 + seed / 100, 5: 0.05}, swap={0: 0.5, 5: 0.4 + seed / 100}, seed=seed)
    build(tmp_path, tmp_path / "here")
    used = []
    monkeypatch.setattr(pools, "_FIGURES_PER_PROCESS", 1)
    monkeypatch.setattr(pools._InlineExecutor, "submit", lambda *_: used.append("here"))
    build(tmp_path, tmp_path / "there")
    assert not used
    assert files(tmp_path / "here") == files(tmp_path / "there")
    assert len(list((tmp_path / "there" / "figures").iterdir())) >= 12


def test_few_figures_are_drawn_here_and_many_by_others(two_cores):
    with figure_pool(15) as few, figure_pool(16) as many:
        assert is_here(few)
        assert not is_here(many)


def test_on_one_core_all_figures_are_drawn_here(monkeypatch):
    monkeypatch.setattr(loky, "cpu_count", lambda: 1)
    with figure_pool(100) as executor:
        assert is_here(executor)


def test_an_error_meanwhile_calls_off_what_has_not_begun_and_leaves_no_process(two_cores, tmp_path):
    pids, later = [], []

    def draw():
        with figure_pool(16) as executor:
            pids.append(executor.submit(os.getpid).result())
            later.extend(executor.submit(time.sleep, 0.2) for _ in range(100))
            fail(tmp_path / "gone")

    with pytest.raises(FileNotFoundError, match="gone"):
        draw()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    assert all(future.done() for future in later)
    assert sum(future.cancelled() for future in later) > 80


def test_an_error_of_drawing_is_raised_as_it_was(two_cores, tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"), figure_pool(16) as executor:
        executor.submit(fail, str(tmp_path / "gone")).result()


def test_a_process_that_is_killed_is_reported_in_a_sentence(two_cores):
    with (
        pytest.raises(UserError, match="A process that drew figures was killed"),
        figure_pool(16) as executor,
    ):
        executor.submit(end).result()
