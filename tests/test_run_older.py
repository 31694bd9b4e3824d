"""Runs of earlier versions, whose snapshots are named by epochs, and runs whose kernels are not finite."""

import json
import shutil

import pytest
import yaml

from afterkernel.config import compose, to_config
from afterkernel.errors import NotFiniteError, UserError
from afterkernel.records import read_records
from afterkernel.records.files import CONFIG, RECORDS
from afterkernel.runs.evaluate import Evaluator
from afterkernel.runs.run import read_config, reevaluate, run
from afterkernel.training import snapshot

OPTIONS = [
    *("dataset.max_train=40", "dataset.max_test=20", "arch=mlp", "arch.width=5", "training.epochs=3"),
    *("training.lr=0.1", "snapshot.epochs=[0,1]", "kernel.names=[ntk]", "measure.names=[]"),
    *("logger.wandb.mode=disabled", "trainer.threads=1"),
]


def made(*words):
    return to_config(compose([*OPTIONS, *words]))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(made(), folder)
    return folder


def numbers(run_dir):
    return {one.step: (one.epoch, one.final, one.kernels[0].margin, one.train_loss) for one in read_records(run_dir)}


@pytest.fixture
def older(whole, tmp_path):
    """The run as an earlier version has written it: 2 steps an epoch."""
    folder = shutil.copytree(whole, tmp_path / "run")
    for path in list((folder / "snapshots").iterdir()):
        path.rename(path.with_stem(f"epoch={int(path.stem.split('=')[1]) // 2:04d}"))
    for path in (folder / "snapshots").glob("*.json"):
        facts = json.loads(path.read_text())
        path.write_text(json.dumps(facts | {"epoch": int(facts["epoch"])}))
    summary = json.loads((folder / "training.json").read_text())
    kept = {name: value for name, value in summary.items() if name not in ("steps", "snapshots")}
    (folder / "training.json").write_text(json.dumps(kept | {"epochs": 3}))
    config = yaml.safe_load((folder / CONFIG).read_text())
    config["training"]["augment"] = False
    for name in ("max_steps", "loss_check", "loss_checks_per_epoch", "loss_check_images"):
        del config["training"][name]
    del config["snapshot"]["losses"]
    (folder / CONFIG).write_text(yaml.safe_dump(config))
    for path in (folder / RECORDS).glob("*.json"):
        assert '"augment":"none"' in path.read_text()
    return folder


def test_an_older_finished_run_is_finished(older):
    assert [path.name for path in snapshot.paths(older)] == [f"epoch=000{epoch}.json" for epoch in (0, 1, 3)]
    assert run(made(), older) is False
    assert read_config(older) == made()


def test_an_older_run_is_evaluated_again(older, whole):
    reevaluate(read_config(older), older, made().identity.run_id)
    assert numbers(older) == numbers(whole)


@pytest.mark.parametrize("lost", ["records/6.*", "snapshots/epoch=0001.*"])
def test_what_an_older_run_has_lost_is_made_again(older, whole, lost):
    for path in older.glob(lost):
        path.unlink()
    assert run(made(), older) is True
    assert numbers(older) == numbers(whole)
    assert run(made(), older) is False
    if lost.startswith("snapshots"):  # training is repeated, and writes all of them by step
        assert [path.name for path in snapshot.paths(older)] == ["step=0.json", "step=2.json", "step=6.json"]
        assert not list(older.glob("snapshots/epoch*"))


def test_a_damaged_older_snapshot_is_named(older):
    (older / "snapshots" / "epoch=0001.json").write_text("{")
    with pytest.raises(UserError, match=r"epoch=0001\.json is not a snapshot of this version"):
        run(made(), older)


def test_a_stored_rotation_with_shift_is_read(older):
    config = yaml.safe_load((older / CONFIG).read_text())
    config["training"]["augment"] = True
    (older / CONFIG).write_text(yaml.safe_dump(config))
    assert read_config(older).training.augment == "rotation_shift"


def evaluate_up_to(patch, step):
    evaluate = Evaluator.evaluate

    def harmed(self, network, facts, **options):
        if facts.step >= step:
            raise NotFiniteError("the embedding is not finite")
        return evaluate(self, network, facts, **options)

    patch.setattr(Evaluator, "evaluate", harmed)


def test_a_snapshot_without_finite_kernels_ends_the_run_before_it(tmp_path, monkeypatch, caplog):
    evaluate_up_to(monkeypatch, 6)
    assert run(made(), tmp_path) is True
    assert {one.step: (one.final, one.training_end) for one in read_records(tmp_path)} == {
        0: (False, ""),
        2: (True, "diverged"),
    }
    assert "the run ends as diverged with the snapshot before, that of epoch 1" in caplog.text
    summary = snapshot.read_summary(tmp_path)
    assert (summary.stopped_by, summary.epochs, summary.steps, summary.snapshots) == ("diverged", 1, 2, [0, 2])
    assert run(made(), tmp_path) is False


def test_an_initial_network_without_finite_kernels_is_a_failure(tmp_path, monkeypatch):
    evaluate_up_to(monkeypatch, 0)
    with pytest.raises(NotFiniteError, match="the embedding is not finite"):
        run(made(), tmp_path)


def test_a_run_that_ends_within_an_epoch_has_every_record(tmp_path):
    config = made("training.max_steps=5", "snapshot.losses=[0.68]", "training.loss_checks_per_epoch=2")
    assert run(config, tmp_path) is True
    found = {one.step: (one.epoch, one.final, one.training_end) for one in read_records(tmp_path)}
    assert found[5] == (2.5, True, "steps")
    assert {0, 2, 5} <= set(found)
    assert run(config, tmp_path) is False
    for path in (tmp_path / RECORDS).glob("5.*"):
        path.unlink()
    assert run(config, tmp_path) is True
    assert {one.step: (one.epoch, one.final, one.training_end) for one in read_records(tmp_path)} == found
