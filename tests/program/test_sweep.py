"""A sweep from the command line: records, snapshots, W&B, results, report, and running it again."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import wandb_offline
from sweep_tools import run_without_torch

import afterkernel as ak
from afterkernel.records import read_records, write_record
from afterkernel.runs.run import read_config
from afterkernel.training import snapshot


def numbers(run_dir):
    """A run's records without what may vary on one machine: times, memory, provenance, and the folder's name."""
    records = [dataclasses.asdict(record) for record in read_records(run_dir)]
    for record in records:
        for kernel in record["kernels"]:
            del kernel["resources"]
        for name in ("provenance", "config", "sweep", "wall_s_train"):
            del record[name]
    return records


def test_every_run_has_a_record_a_snapshot(sweep):
    frame = ak.results(sweep / "runs" / "tiny")
    assert len(frame) == 4 * 3 * 2  # runs, snapshots (0, 1 and the end), kernels
    assert set(frame["arch"]) == {"vgg", "mlp"}
    assert set(frame["epoch"]) == {0, 1, 3}
    assert (frame.loc[frame["final"], "epoch"] == 3).all()
    assert frame["converged"].all()
    ntk = frame[frame["kernel"] == "ntk"]
    assert ntk["separable"].all()
    assert (ntk["gap"] <= 1e-6).all()
    assert ntk["svm_train_error"].max() == 0
    # A few hidden features may not separate the classes, or only by less than rounding: then there is no margin.
    measured = frame[frame["margin"].notna()]
    assert measured["separable"].all()
    assert not frame.loc[frame["margin"].isna(), "separable"].fillna(False).astype(bool).any()
    assert (measured["margin"] > 0).all()
    assert ntk["margin"].notna().all()
    for name in ("shift", "rotation", "zoom", "swap"):
        assert frame[f"{name}_invariance"].between(-1, 1).all()


def test_a_record_is_what_the_library_gives_on_the_saved_weights(sweep):
    run_dir = next((sweep / "runs" / "tiny").glob("vgg-*seed1*"))
    config = read_config(run_dir)
    problem = config.dataset.load()
    network = config.arch.build(problem.image_shape)
    path = snapshot.paths(run_dir)[-1]
    facts = snapshot.load(run_dir, network, path)
    record = max(read_records(run_dir), key=lambda one: one.epoch)
    assert (record.train_loss, record.step) == (facts.train_loss, facts.step)
    by_name = {kernel.kernel: kernel for kernel in record.kernels}
    for name, kernel in (("ntk", ak.ntk), ("conjugate", ak.conjugate_kernel)):
        K = kernel(network, problem.x_train, dtype=torch.float64)
        K_test = kernel(network, problem.x_test, problem.x_train, dtype=torch.float64)
        Z = 1e-4 + K.diagonal().sqrt().mean().item()
        svm = ak.HardMarginSVM().fit(K / Z**2, problem.y_train)
        wrong = (svm.predict(K_test) != problem.y_test).double().mean().item()
        assert by_name[name].embedding_norm == pytest.approx(Z, rel=1e-5)
        if by_name[name].separable:
            assert by_name[name].margin == pytest.approx(svm.margin_, rel=1e-3)
        assert by_name[name].svm_test_error == wrong
        assert by_name[name].effective_rank == pytest.approx(ak.effective_rank(K), rel=1e-4)
    images = problem.x_test[torch.randperm(30, generator=torch.Generator().manual_seed(0))[:20].sort().values]
    swap = ak.invariance(network, images, "swap")
    assert by_name["ntk"].swap_invariance == pytest.approx(swap, abs=1e-5)


def test_wandb_runs_are_offline_one_a_job_grouped_and_finished(sweep):
    found = {}
    for run_dir in (sweep / "runs" / "tiny").glob("*-seed*"):
        (folder,) = (run_dir / "wandb").glob("offline-run-*")
        records = list(wandb_offline.records(folder))
        runs = [record.run for record in records if record.WhichOneof("record_type") == "run"]
        (ended,) = [record.exit.exit_code for record in records if record.WhichOneof("record_type") == "exit"]
        history = [record.history for record in records if record.WhichOneof("record_type") == "history"]
        epochs = [
            json.loads(item.value_json)
            for step in history
            for item in step.item
            if item.key == "epoch" or list(item.nested_key) == ["epoch"]
        ]
        logged = {item.key or "/".join(item.nested_key) for step in history for item in step.item}
        # The training curve has a point at the end of each epoch; then the snapshots are evaluated.
        assert (runs[0].run_group, ended, epochs) == ("tiny", 0, [1, 2, 3, 0, 1, 3])
        assert {"ntk/svm_test_error", "ntk/margin", "conjugate/swap_invariance", "network/train_loss"} <= logged
        found[runs[0].run_id] = run_dir.name
    assert found == {f"tiny-{name}": name for name in found.values()}
    assert len(found) == 4


def test_the_same_seed_repeats_every_record_bit_for_bit(sweep, program, small_options, tmp_path):
    done = program("arch=mlp", "seed=1", "sweep.name=again", *small_options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (again,) = (tmp_path / "runs" / "again").glob("mlp-*")
    first = sweep / "runs" / "tiny" / again.name
    assert len(numbers(again)) == 3
    assert numbers(again) == numbers(first)


def test_running_again_leaves_what_is_finished(sweep, program, small_options):
    before = {path: path.stat().st_mtime_ns for path in (sweep / "runs").rglob("records/*.json")}
    assert len(before) == 4 * 3  # runs, snapshots
    done = program("arch=mlp", "seed=1", "sweep.name=tiny", *small_options, cwd=sweep)
    assert done.returncode == 0
    assert "finished already" in done.stdout + done.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_run_that_ended_early_continues_where_it_stopped(sweep, program, small_options, tmp_path):
    first = next((sweep / "runs" / "tiny").glob("mlp-*seed0*"))
    run_dir = shutil.copytree(first, tmp_path / "runs" / "tiny" / first.name)
    expected, records = numbers(run_dir), read_records(run_dir)
    shutil.rmtree(run_dir / "records")
    for record in (records[0], records[2]):
        write_record(run_dir, record, 1)
    before = {path: path.stat().st_mtime_ns for path in (run_dir / "snapshots").iterdir()}
    done = program("arch=mlp", "seed=0", "sweep.name=tiny", *small_options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert numbers(run_dir) == expected
    kept = [record for record in read_records(run_dir) if record.epoch != 1]
    assert kept == [records[0], records[2]]  # times and all: they were left alone
    assert {path: path.stat().st_mtime_ns for path in before} == before
    forced = program("arch=mlp", "seed=0", "sweep.name=tiny", "force=true", *small_options, cwd=tmp_path)
    assert forced.returncode == 0, forced.stderr
    assert all(path.stat().st_mtime_ns > time_ns for path, time_ns in before.items())
    assert numbers(run_dir) == expected
    assert all(one != other for one, other in zip(read_records(run_dir), records, strict=True))


def test_evaluate_recomputes_without_training(sweep, program, tmp_path):
    run_dir = shutil.copytree(next((sweep / "runs" / "tiny").glob("mlp-*seed0*")), tmp_path / "run")
    before = numbers(run_dir)
    weights = {path.name: path.read_bytes() for path in (run_dir / "snapshots").iterdir()}
    shutil.rmtree(run_dir / "records")
    done = program("evaluate", run_dir, "logger=none", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert numbers(run_dir) == before
    assert {path.name: path.read_bytes() for path in (run_dir / "snapshots").iterdir()} == weights


def test_evaluate_with_another_svm_adds_records(sweep, program, tmp_path):
    run_dir = shutil.copytree(next((sweep / "runs" / "tiny").glob("mlp-*seed0*")), tmp_path / "run")
    done = program("evaluate", run_dir, "svm=libsvm", "kernel.dtype=float64", "kernel.names=[ntk]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    frame = ak.results(run_dir)
    libsvm = frame[frame["svm_backend"] == "libsvm"]
    exact = frame[(frame["svm_backend"] == "exact") & (frame["kernel"] == "ntk")]
    assert len(libsvm) == 3
    assert frame["run_id"].nunique() == 1
    assert libsvm["svm_intercept"].all()
    # With an intercept the margin can only be wider.
    assert (libsvm["margin"].to_numpy() >= exact["margin"].to_numpy() * (1 - 1e-3)).all()


def test_images_that_are_not_those_of_training_are_refused(sweep, program, small_options, tmp_path):
    run_dir = shutil.copytree(next((sweep / "runs" / "tiny").glob("mlp-*seed0*")), tmp_path / "run")
    path = run_dir / "training.json"
    summary = json.loads(path.read_text())
    path.write_text(json.dumps(summary | {"data_sha256": "0" * 64}))
    done = program("evaluate", run_dir, cwd=tmp_path)
    assert done.returncode == 2
    assert "the images are not those" in done.stderr


def test_evaluate_refuses_to_change_training(sweep, program):
    run_dir = next((sweep / "runs" / "tiny").glob("mlp-*seed0*"))
    done = program("evaluate", run_dir, "training.lr=0.5", cwd=sweep)
    assert done.returncode == 2
    assert "evaluate takes only options of kernel, svm and measure" in done.stderr


def test_results_print_and_filter(sweep, program):
    shown = program("results", "runs/tiny", "--where", "epoch == 3 and kernel == 'ntk'", "--csv", cwd=sweep)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.strip().splitlines()
    assert len(lines) == 1 + 4
    assert lines[0].startswith("run_id,")
    query = "select kernel, count(*) as n from results group by kernel order by kernel"
    counted = program("results", "runs/tiny", "--sql", query, "--csv", cwd=sweep)
    assert counted.stdout.split() == ["kernel,n", "conjugate,12", "ntk,12"]
    wrong = program("results", "runs/tiny", "--where", "epok == 3", cwd=sweep)
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr


def test_status_shows_the_progress_of_each_run(sweep, program):
    done = program("status", "runs/tiny", cwd=sweep)
    assert done.returncode == 0, done.stderr
    assert sum("3/3" in line for line in done.stdout.splitlines()) == 4


def test_report_is_one_page_with_figures_and_needs_no_torch(sweep):
    page = Path(run_without_torch("report", sweep / "runs" / "tiny").strip().splitlines()[-1].removeprefix("file://"))
    html = page.read_text()
    assert "<img" in html or "<svg" in html
    assert list((page.parent / "figures").glob("*.png"))
    frame = ak.results(sweep / "runs" / "tiny")
    chosen = frame[(frame["arch"] == "mlp") & (frame["kernel"] == "ntk") & (frame["epoch"] == 3)]
    assert f"{100 * np.mean(chosen['svm_test_error']):.2f}"[:3] in html


def test_the_layer_of_the_conjugate_kernel_is_named_once_a_run(sweep):
    for log in (sweep / "runs" / "tiny").glob("*/run.log"):
        text = log.read_text()
        assert text.count("conjugate: SVM test error") == 3
        assert text.count("conjugate kernel: the features are ") == 1
