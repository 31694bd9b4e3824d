"""What a run logs to W&B, read back from its offline files; and runs whose logger fails."""

import contextlib
import logging
import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import logger_records
import pytest
import wandb_offline

from afterkernel.config import compose, override, to_config
from afterkernel.config.catalogue import every_option
from afterkernel.config.schema import public
from afterkernel.errors import UserError
from afterkernel.runs.loggers import loggers_of
from afterkernel.wandb.options import Wandb
from afterkernel.wandb.redact import without_paths

KINDS_WITH_PATHS = ["output_dir", "dataset.root", "svm.library", "sweep.recorded", "logger.mlflow.tracking_uri"]


OURS = ("afterkernel.loggers.run_loggers", "afterkernel.wandb.run")


def configured(tmp_path, *words):
    return to_config(compose(["arch=mlp", f"output_dir={tmp_path}/out put", *words]))


@contextlib.contextmanager
def mirrored(config, run_dir, name=None, mode="offline", **shared):
    sweep, logger = replace(config.sweep, name="tiny"), replace(config.logger, wandb=Wandb(mode, **shared))
    config = replace(config, sweep=sweep, logger=logger)
    with loggers_of(config, run_dir, name or config.identity.run_id, "start") as loggers:
        yield loggers


def broken_off(config, run_dir, error, epochs=1):
    """A run that ends by an exception after some of its snapshots."""
    with mirrored(config, run_dir) as loggers:
        for epoch in range(epochs):
            loggers.log_record(logger_records.record(epoch), 1.0)
        raise error


def offline(run_dir):
    return [wandb_offline.finished(folder) for folder in sorted((run_dir / "wandb").glob("offline-run-*"))]


def test_a_run_by_its_id_group_epochs_and_final_numbers(tmp_path):
    config = configured(tmp_path)
    final = logger_records.record(5, final=True, kernels=(logger_records.kernel(epoch=5, margin=None),))
    with mirrored(config, tmp_path) as loggers:
        for each in (logger_records.record(0), logger_records.record(2), final):
            loggers.log_record(each, 1.0)
    (found,) = offline(tmp_path)
    assert found.run.run_id == f"tiny-{config.identity.run_id}"
    assert (found.run.run_group, found.run.display_name, found.run.project) == (
        "tiny",
        config.identity.run_id,
        "afterkernel",
    )
    assert found.exit_codes == [0]
    assert [row["epoch"] for row in found.history] == [0, 2, 5]
    assert [row["ntk/svm_test_error"] for row in found.history] == [0.5, 0.5 / 3, 0.5 / 6]
    assert "ntk/margin" not in found.history[-1]
    assert found.metrics.keys() >= found.history[0].keys() - {"_step", "_runtime", "_timestamp"}
    for name, metric in found.metrics.items():
        assert metric.step_metric == ("" if name == "epoch" else "epoch")
    summary = found.summary
    assert (summary["epoch"], summary["network/step"], summary["final"], summary["state"]) == (5, 10, True, "finished")
    assert (summary["ntk/svm_test_error"], summary["network/train_loss"]) == (0.5 / 6, 1 / 6)
    # The final snapshot has no margin, so neither has the summary, though snapshots before it have.
    assert summary["ntk/margin"] is None
    assert {"ntk/wall_s_kernel", "ntk/peak_bytes", "ntk/swap_invariance"} <= summary.keys()
    assert "error" not in summary
    assert found.config["training"]["lr"] == config.training.lr
    facts = found.config["facts"]
    assert (facts["parameters"], facts["commit"], facts["provenance"]) == (1500, "abc", {"versions": {"torch": "2"}})


def test_no_local_path_leaves_the_machine(tmp_path):
    root = tmp_path / "my images"
    config = configured(tmp_path, "dataset=mnist", f"dataset.root='{root}'", "dataset.download=true")
    with pytest.raises(OSError, match="No such"):
        broken_off(config, tmp_path, FileNotFoundError(2, "No such file or directory", str(root / "MNIST" / "raw")))
    (found,) = offline(tmp_path)
    assert "output_dir" not in found.config
    assert set(found.config["dataset"]) == {"name", "minus", "plus", "classes", "max_train", "max_test", "download"}
    assert found.summary["error"] == "[Errno 2] No such file or directory: 'raw'"
    (file,) = tmp_path.rglob("*.wandb")
    content = file.read_bytes()
    for local in (tmp_path, Path.cwd(), Path.home(), Path(sys.executable).parent):
        assert len(str(local)) < 5 or str(local).encode() not in content
    assert b"my images" not in content
    assert b"/secret/place" not in content


def test_every_option_that_names_a_place_is_private():
    named = {
        name
        for name, fields in every_option().items()
        if any(word in name.split(".")[-1] for word in ("dir", "root", "path", "file", "library", "recorded", "uri"))
    }
    private = {name for name, fields in every_option().items() if any(field.metadata["redact"] for field in fields)}
    assert named == private == set(KINDS_WITH_PATHS)
    assert public({"output_dir": "x", "seed": 1, "dataset": {"root": "y", "name": "z"}, "typo": 3}) == {
        "seed": 1,
        "dataset": {"name": "z"},
    }


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("/home/me/runs/a/epoch=0000.pt is truncated", "epoch=0000.pt is truncated"),
        ("runs/a b/c/x.pt is not (see 'C:\\data\\y.npy')", "x.pt is not (see 'y.npy')"),
        ("training.lr=1e+30 is too large", "training.lr=1e+30 is too large"),
        ("dataset.root=~/my/data: mnist is not there", "data: mnist is not there"),
        ("x" * 400, "x" * 297 + "..."),
    ],
)
def test_paths_are_removed_from_a_message(sentence, shown):
    assert without_paths(sentence, ["runs/a b"]) == shown


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (UserError("training diverged: training.lr=1e+30 is too large."), "failed", "training.lr=1e+30 is too large"),
        (KeyboardInterrupt(), "interrupted", "interrupted before its end"),
        (MemoryError(), "failed", "MemoryError"),
    ],
)
def test_a_run_that_fails_is_marked_failed_with_the_reason(tmp_path, error, state, reason):
    with pytest.raises(type(error)):
        broken_off(configured(tmp_path), tmp_path, error)
    (found,) = offline(tmp_path)
    assert found.exit_codes == [1]
    assert (found.summary["state"], found.summary["final"], found.summary["epoch"]) == (state, False, 0)
    assert reason in found.summary["error"]


def test_a_resumed_run_keeps_its_id_and_is_complete_in_itself(tmp_path):
    config = configured(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        broken_off(config, tmp_path, KeyboardInterrupt())
    with mirrored(config, tmp_path) as loggers:
        loggers.log_record(logger_records.record(0), 1.0)
        loggers.log_record(logger_records.record(1, final=True), 1.0)
    first, second = offline(tmp_path)
    assert first.run.run_id == second.run.run_id
    assert ([row["epoch"] for row in second.history], second.exit_codes) == ([0, 1], [0])
    assert second.summary["state"] == "finished"


def test_an_evaluation_with_other_options_is_a_wandb_run_of_its_own(tmp_path):
    config = configured(tmp_path)
    for made in (config, override(config, ["svm=libsvm"])):
        with mirrored(made, tmp_path, name=config.identity.run_id) as loggers:
            loggers.log_record(logger_records.record(0), 1.0)
    first, second = (found.run.run_id for found in offline(tmp_path))
    assert first == f"tiny-{config.identity.run_id}"
    assert second.startswith(f"{first}-")


def log_one(folder, seed):
    config = replace(configured(folder), seed=seed)
    run_dir = folder / str(seed)
    run_dir.mkdir()
    with mirrored(config, run_dir) as loggers:
        for epoch in range(30):
            loggers.log_record(logger_records.record(epoch, final=epoch == 29, seed=seed), 1.0)


def test_runs_in_parallel_lose_nothing(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    children = [spawn.Process(target=log_one, args=(tmp_path, seed)) for seed in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout=300)
    assert [child.exitcode for child in children] == [0] * 2
    ids = set()
    for seed in range(2):
        (found,) = offline(tmp_path / str(seed))
        assert [row["epoch"] for row in found.history] == list(range(30))
        assert (found.exit_codes, found.summary["epoch"], found.summary["state"]) == ([0], 29, "finished")
        ids.add(found.run.run_id)
    assert len(ids) == 2


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.name in OURS]


@pytest.mark.parametrize("stage", ["init", "log", "finish"])
def test_a_logger_that_fails_is_one_warning_and_the_run_continues(tmp_path, monkeypatch, caplog, stage):
    import wandb

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        *{"init": (wandb, "init"), "log": (wandb.Run, "log"), "finish": (wandb.Run, "finish")}[stage], fail
    )
    with mirrored(configured(tmp_path), tmp_path) as loggers:
        loggers.log_record(logger_records.record(0), 1.0)
        loggers.log_record(logger_records.record(1), 1.0)
    (warning,) = warnings_of(caplog)
    assert warning.startswith("W&B logging stopped for this run ([Errno 28] No space left on device)")
    monkeypatch.undo()
    again = tmp_path / "again"
    again.mkdir()
    with mirrored(configured(tmp_path), again) as loggers:
        loggers.log_record(logger_records.record(0), 1.0)
    assert offline(again)[0].exit_codes == [0]


def test_a_run_that_is_interrupted_while_its_curve_is_sent_again_is_ended(tmp_path, monkeypatch):
    from afterkernel.records.training_curve import TrainingCurve, TrainingPoint
    from afterkernel.wandb.run import WandbRun

    def interrupt(*_):
        raise KeyboardInterrupt

    TrainingCurve(tmp_path, "start").add(TrainingPoint(1, 0.25, 0.5, 0.1, 0.1))
    monkeypatch.setattr(WandbRun, "log_point", interrupt)
    with pytest.raises(KeyboardInterrupt), mirrored(configured(tmp_path), tmp_path):
        pass
    assert offline(tmp_path)[0].summary["state"] == "interrupted"


def test_a_file_in_the_way_is_one_warning(tmp_path, caplog):
    (tmp_path / "wandb").write_text("mine")
    with mirrored(configured(tmp_path), tmp_path) as loggers:
        loggers.log_record(logger_records.record(0), 1.0)
    assert len(warnings_of(caplog)) == 1
    assert (tmp_path / "wandb").read_text() == "mine"


KILLED = """
import logging, os, signal, subprocess, sys
from pathlib import Path
import logger_records, test_wandb_run as tests
logging.basicConfig(format="%(message)s")
folder = Path(sys.argv[1])
with tests.mirrored(tests.configured(folder), folder) as loggers:
    loggers.log_record(logger_records.record(0), 1.0)
    children = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    for line in children.stdout.splitlines():
        if "wandb-core" in line:
            os.kill(int(line.split()[0]), signal.SIGKILL)
            print("killed", flush=True)
    for epoch in range(1, 50):
        loggers.log_record(logger_records.record(epoch), 1.0)
print("done")
"""


@pytest.mark.skipif(not Path("/bin/ps").exists(), reason="needs ps to find W&B's process")
def test_a_run_outlives_the_death_of_wandbs_process(tmp_path):
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", str(here.parents[1]))])
    environment = os.environ | {"PYTHONPATH": paths}
    environment.pop("WANDB_SERVICE", None)
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, ["killed", "done"]), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("W&B logging stopped for this run") == 1


def test_online_without_a_server_falls_back_to_offline(tmp_path, monkeypatch, caplog):
    import wandb

    real = wandb.init

    def init(*, mode, **options):
        if mode == "online":
            raise wandb.errors.CommError("no route")
        return real(mode=mode, **options)

    monkeypatch.setattr(wandb, "init", init)
    caplog.set_level(logging.WARNING)
    with mirrored(configured(tmp_path), tmp_path, mode="online") as loggers:
        loggers.log_record(logger_records.record(0), 1.0)
    assert warnings_of(caplog) == ["W&B can't be reached (no route): this run is logged offline; wandb-sync uploads it"]
    assert offline(tmp_path)[0].exit_codes == [0]
