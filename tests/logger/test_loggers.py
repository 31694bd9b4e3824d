"""All loggers of real runs: the same metrics, each point once after an interruption, and results as without loggers."""

import csv
import json
import logging
from pathlib import Path

import pytest
import wandb_offline

from afterkernel.__main__ import main
from afterkernel.records import read_records
from afterkernel.records.metrics import numbers_of
from afterkernel.records.training_curve import CURVE, TrainingCurve, TrainingPoint
from afterkernel.training.callbacks import CurvePoints

SMALL = [
    *("arch=mlp", "arch.budget=1000", "training.epochs=3", "snapshot.epochs=[0,2]", "dataset.max_train=100"),
    *("dataset.max_test=20", "kernel.names=[ntk]", "measure.num_images=10", "measure.crop_fraction=[0.75]"),
    *("trainer.threads=1", "training.lr_schedule=cosine", "logger.every_steps=3", "trainer.checkpoint_every_s=0"),
]
STEPS = [3, 4, 6, 8, 9, 12]  # of 4 steps an epoch: every third one, and the last of each epoch
NUMERIC = ("ntk/svm_test_error", "ntk/margin", "network/train_loss", "evaluation/progress")


def available():
    for name in ("tensorboard", "mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(name, reason=f"{name} is not installed")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run without loggers, and one with all, which is interrupted in its third epoch and continued."""
    available()
    folder = tmp_path_factory.mktemp("runs")
    assert main([*SMALL, "logger=none", f"output_dir={folder}/plain"]) == 0
    words = [*SMALL, "logger=[wandb,csv,tensorboard,mlflow]", f"output_dir={folder}/logged"]
    report = CurvePoints.on_train_batch_end

    def interrupted(self, trainer, *rest):
        report(self, trainer, *rest)
        if trainer.global_step == 10:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CurvePoints, "on_train_batch_end", interrupted)
        assert main(words) == 130
    assert main(words) == 0
    (plain,), (logged,) = folder.glob("plain/default/*-*"), folder.glob("logged/default/*-*")
    return plain, logged


def expected(run_dir):
    """Each metric's values by step, from the curve and the records."""
    curve = [json.loads(line) for line in (run_dir / CURVE).read_text().splitlines()[1:]]
    found = {"training/batch_loss": {one["step"]: one["batch_loss"] for one in curve}}
    records = sorted(read_records(run_dir), key=lambda record: record.step)
    for place, record in enumerate(records, start=1):
        for name, value in (numbers_of(record) | {"evaluation/progress": place / len(records)}).items():
            if name in NUMERIC:
                found.setdefault(name, {})[record.step] = value
    return found


def test_loggers_change_no_number_and_no_id(runs):
    plain, logged = runs
    assert plain.name == logged.name
    without, with_them = ([numbers_of(record) for record in read_records(run_dir)] for run_dir in runs)
    timed = {name for name in without[0] if "wall_s" in name or "bytes" in name}
    for one, other in zip(without, with_them, strict=True):
        assert {name: one[name] for name in one.keys() - timed} == {name: other[name] for name in other.keys() - timed}
    curves = [(run_dir / CURVE).read_text().splitlines()[1:] for run_dir in runs]
    assert curves[0] == curves[1]
    assert [json.loads(line)["step"] for line in curves[0]] == STEPS
    assert not list(plain.glob("wandb")) + list(plain.glob("csv"))


def test_the_curve_has_the_schedule_and_the_means_of_epochs(runs):
    points = [TrainingPoint(**json.loads(line)) for line in (runs[0] / CURVE).read_text().splitlines()[1:]]
    assert [point.progress for point in points] == [step / 12 for step in STEPS]
    assert [point.epoch_loss is not None for point in points] == [step % 4 == 0 for step in STEPS]
    assert points[0].lr > points[-1].lr > 0
    first, second = points[:2]
    assert second.epoch_loss == pytest.approx((3 * first.batch_loss + second.batch_loss) / 4)


def test_wandb_has_each_point_once_and_the_ten_numbers_first(runs):
    *_, last = [wandb_offline.finished(folder) for folder in sorted(runs[1].glob("wandb/offline-run-*"))]
    wanted = expected(runs[1])
    batch_loss = [row["training/batch_loss"] for row in last.history if "training/batch_loss" in row]
    assert batch_loss == list(wanted["training/batch_loss"].values())
    assert [row["ntk/margin"] for row in last.history if "ntk/margin" in row] == list(wanted["ntk/margin"].values())
    names = [name for name in last.metrics if name != "epoch"]
    assert all(name.startswith("at_a_glance/") for name in names[:10])
    assert sorted(names) == sorted(names[:10]) + sorted(names[10:])
    assert last.summary["state"] == "finished"
    assert last.summary["training/batch_loss"] == batch_loss[-1]
    assert len(last.run.notes) < 800


def test_a_csv_file_has_each_point_once(runs):
    with (runs[1] / "csv" / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name, values in expected(runs[1]).items():
        assert {int(row["step"]): float(row[name]) for row in rows if row[name]} == values
        assert sum(bool(row[name]) for row in rows) == len(values)


def test_tensorboard_has_each_point_once(runs):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(runs[1] / "tensorboard" / "run"))
    events.Reload()
    for name, values in expected(runs[1]).items():
        assert [event.step for event in events.Scalars(name)] == list(values)
        assert [event.value for event in events.Scalars(name)] == pytest.approx(list(values.values()), rel=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlflow_has_one_run_with_each_point_once(runs):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{runs[1].parent / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("default").experiment_id])
    assert (found.info.run_name, found.info.status) == (runs[1].name, "FINISHED")
    assert found.data.params["training/lr"] == "0.01"
    assert not [name for name in found.data.params if "output_dir" in name or "root" in name]
    assert set(found.data.tags) == {"mlflow.runName", "afterkernel.name", "afterkernel.start"}
    for name, values in expected(runs[1]).items():
        history = sorted(client.get_metric_history(found.info.run_id, name), key=lambda metric: metric.step)
        assert {metric.step: metric.value for metric in history} == values
        assert len(history) == len(values)


def test_a_curve_of_another_start_is_replaced_and_a_broken_line_is_left_out(tmp_path):
    points = [TrainingPoint(step, step / 4, 0.5, 0.1, step / 12) for step in (1, 2, 3)]
    curve = TrainingCurve(tmp_path, "one")
    assert all(map(curve.add, points[:2]))
    assert not curve.add(points[0])
    with (tmp_path / CURVE).open("a") as file:
        file.write('{"step": 3, "ep')
    again = TrainingCurve(tmp_path, "one")
    assert again.points == points[:2]
    assert again.add(points[2])
    assert TrainingCurve(tmp_path, "one").points == points
    assert TrainingCurve(tmp_path, "two").points == []


def test_a_curve_that_cannot_be_written_is_one_warning(tmp_path, caplog):
    (tmp_path / CURVE).mkdir()
    curve = TrainingCurve(tmp_path, "one")
    with caplog.at_level(logging.WARNING):
        for step in (1, 2):
            assert curve.add(TrainingPoint(step, step / 4, 0.5, 0.1, step / 12))
    assert len(caplog.records) == 1
    assert Path(tmp_path / CURVE).is_dir()
