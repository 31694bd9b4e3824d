"""The grid of a sweep: which runs it has, and which of them are finished."""

import pytest

from afterkernel.config import compose
from afterkernel.errors import UserError
from afterkernel.runs.planned import planned
from afterkernel.runs.run import run
from afterkernel.sweep.grid import compose_grid, finished

SMALL = [
    "arch=mlp",
    "arch.width=5",
    "training.epochs=0",
    "snapshot.epochs=[0]",
    "dataset.max_train=40",
    "dataset.max_test=20",
    "measure.num_images=5",
    "kernel.names=[conjugate]",
    "logger=none",
]


@pytest.fixture
def entries(tmp_path):
    grid = [[*SMALL, f"output_dir={tmp_path}", f"sweep.name={name}"] for name in ("a", "b")]
    return compose_grid(compose, grid)


def test_one_run_in_two_sweeps_is_finished_where_it_was_run(entries):
    first, second = entries
    assert first.job.run_id == second.job.run_id
    assert finished(entries) == set()
    run(first.config, first.run_dir)
    assert finished(entries) == {first.run_dir}


def test_what_differs_between_runs_is_what_is_swept(entries):
    assert [entry.varied for entry in entries] == [("sweep.name=a",), ("sweep.name=b",)]


def test_the_same_run_twice_is_an_error(tmp_path):
    with pytest.raises(UserError, match="are the same run"):
        compose_grid(compose, [[*SMALL, "seed=1"], [*SMALL, "seed=1"]])


def test_a_directory_without_runs_is_an_error():
    with pytest.raises(UserError, match="has no run"):
        compose_grid(compose, [])


def test_nothing_is_planned_where_no_sweep_was_started(tmp_path):
    assert planned(tmp_path) == {}
