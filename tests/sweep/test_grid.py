"""The grid of a sweep: which runs it has, and which of them are finished."""

import dataclasses

import pytest

from afterkernel.__main__ import main
from afterkernel.config import compose
from afterkernel.errors import UserError
from afterkernel.records import read_records
from afterkernel.records.exported import export
from afterkernel.runs.planned import planned
from afterkernel.runs.run import run
from afterkernel.sweep.grid import compose_grid, finished, grids_of, recorded

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


def test_runs_with_wrong_labels_are_finished_like_others(tmp_path):
    noisy = [*SMALL, "training.epochs=1", "training.label_noise=0.1", f"output_dir={tmp_path}"]
    grid = compose_grid(compose, [[*noisy, "seed=0"], [*noisy, "seed=1"]])
    run(grid[1].config, grid[1].run_dir)
    assert finished(grid) == {grid[1].run_dir}
    file = tmp_path / "all.parquet"
    export(read_records(grid[1].run_dir), file)
    kept = compose_grid(compose, [[*noisy, f"sweep.recorded={file}", f"seed={seed}"] for seed in (0, 1)])
    assert recorded(kept) == {grid[1].run_dir}


def test_what_differs_between_runs_is_what_is_swept(entries):
    assert [entry.varied for entry in entries] == [("sweep.name=a",), ("sweep.name=b",)]


def test_grids_are_joined_and_what_both_hold_is_one_run():
    trained = [*(word for word in SMALL if not word.startswith("training.epochs")), "training.epochs=1"]
    first = [[*trained, "seed=0"], [*trained, "seed=1"]]
    second = [[*trained, "seed=1", f"training.augment={name}"] for name in ("none", "rotation")]
    joined = compose_grid(compose, first, second)
    assert [run.varied for run in joined] == [("seed=0",), ("seed=1",), ("seed=1", "training.augment=rotation")]
    with pytest.raises(UserError, match="are the same run"):
        compose_grid(compose, first, [second[0], [*trained, "seed=1"]])


def test_the_words_of_a_command_hold_in_every_grid_of_a_sweep():
    held = compose(['sweep.also=["training.lr=0.1 training.augment=rotation","seed=5"]', "arch=mlp"])
    grids = grids_of(["training.lr=0.1,0.3", "seed=range(2)"], ["seed=7", "arch=mlp"], held)
    seen = [[dict(word.split("=") for word in run) for run in grid] for grid in grids]
    assert [[run["training.lr"] for run in grid] for grid in seen] == [["0.1", "0.3"], ["0.1"], ["0.1", "0.3"]]
    assert {run["seed"] for grid in seen for run in grid} == {"7"}
    assert [run.get("training.augment") for grid in seen for run in grid] == [None, None, "rotation", None, None]
    held.sweep.max_runs = 4
    with pytest.raises(UserError, match=r"the sweep has 5 runs, more than sweep\.max_runs=4"):
        grids_of(["training.lr=0.1,0.3"], [], held)


def test_the_same_run_twice_is_an_error(tmp_path):
    with pytest.raises(UserError, match="are the same run"):
        compose_grid(compose, [[*SMALL, "seed=1"], [*SMALL, "seed=1"]])


def test_a_directory_without_runs_is_an_error():
    with pytest.raises(UserError, match="has no run"):
        compose_grid(compose, [])


def test_nothing_is_planned_where_no_sweep_was_started(tmp_path):
    assert planned(tmp_path) == {}


def test_a_sweep_does_not_run_what_a_file_has(tmp_path, capsys):
    file = tmp_path / "all.parquet"
    words = ["--multirun", "seed=0,1", *SMALL, f"sweep.recorded={file}"]
    plain = words[:-1]
    assert main([*plain, f"output_dir={tmp_path}/first", "sweep.name=s"]) == 0
    export([one for one in read_records(tmp_path / "first") if one.seed == 0], file)
    again = [*words, f"output_dir={tmp_path}/second", "sweep.name=other"]
    capsys.readouterr()
    assert main([*again, "sweep.dry_run=true"]) == 0
    out = capsys.readouterr().out
    assert f"2 runs, 0 finished, 1 recorded in {file}, 1 to do" in out
    assert [line.split()[2:3] for line in out.splitlines()[1:3]] == [["recorded"], ["new"]]
    assert main(again) == 0
    assert f"2 runs, 1 recorded in {file}, 1 to do" in capsys.readouterr().out
    assert {one.seed for one in read_records(tmp_path / "second")} == {1}
    assert len(planned(tmp_path / "second")) == 1
    assert main(again) == 0
    assert f"2 runs, 1 finished before, 1 recorded in {file}, 0 to do" in capsys.readouterr().out


def test_only_the_end_of_the_same_run_on_the_same_images_counts_as_recorded(tmp_path):
    file = tmp_path / "all.parquet"
    (one,) = compose_grid(compose, [[*SMALL, f"output_dir={tmp_path}"]])
    run(one.config, one.run_dir)
    (record,) = read_records(one.run_dir)

    def counts(found, *words):
        file.unlink(missing_ok=True)
        export([found], file)
        grid = compose_grid(compose, [[*SMALL, f"output_dir={tmp_path}/x", f"sweep.recorded={file}", *words]])
        return len(recorded(grid)) == 1

    assert counts(record)
    assert not counts(record, "force=true")
    assert not counts(record, "svm.tol=1e-5")
    assert not counts(record, "seed=1")
    assert not counts(dataclasses.replace(record, final=False))
    assert not counts(dataclasses.replace(record, provenance={**record.provenance, "data_sha256": "0" * 64}))


def test_a_single_run_that_a_file_has_is_not_run(tmp_path, capsys):
    file = tmp_path / "all.parquet"
    assert main([*SMALL, f"output_dir={tmp_path}/first"]) == 0
    export(read_records(tmp_path / "first"), file)
    assert main([*SMALL, f"output_dir={tmp_path}/second", f"sweep.recorded={file}"]) == 0
    assert f"is recorded in {file}; force=true runs it" in capsys.readouterr().out
    assert not (tmp_path / "second").exists()
