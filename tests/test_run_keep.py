"""What is kept of a run in addition to its records: checkpoints and Gram matrices."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import afterkernel as ak
from afterkernel.__main__ import main
from afterkernel.config import compose, to_config
from afterkernel.errors import UserError
from afterkernel.records import read_records
from afterkernel.runs.evaluate import Evaluator
from afterkernel.runs.run import run
from afterkernel.sweep.estimate import CostEstimator
from afterkernel.training import snapshot

OPTIONS = [
    "dataset=digits",
    "dataset.max_train=40",
    "dataset.max_test=20",
    "arch=mlp",
    "arch.budget=1300",
    "training.epochs=1",
    "snapshot.epochs=[0]",
    "measure.num_images=10",
    "logger.wandb.mode=disabled",
]


def made(run_dir, *options):
    config = to_config(compose([*OPTIONS, *options]))
    run(config, run_dir)
    return config


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("kept")
    return run_dir, made(run_dir, "keep=[gram,checkpoint]")


@pytest.fixture
def copy(kept, tmp_path):
    return shutil.copytree(kept[0], tmp_path / "copy")


def test_saved_grams_are_those_that_were_evaluated(kept):
    run_dir, config = kept
    problem, network = config.dataset.load(), config.arch.build((1, 8, 8))
    snapshot.load(run_dir, network, snapshot.paths(run_dir)[1])
    for record in read_records(run_dir):
        for kernel in record.kernels:
            grams = ak.saved_grams(run_dir, record.epoch, kernel.kernel)
            assert (grams.train.shape, grams.test.shape) == ((40, 40), (20, 40))
            assert grams.normalisation == kernel.embedding_norm
            assert grams.evaluation_id == record.evaluation_id
            assert not grams.train.flags.writeable
            assert isinstance(grams.train, np.memmap)
            svm = ak.HardMarginSVM().fit(grams.train, torch.from_numpy(grams.y_train.copy()))
            wrong = svm.predict(torch.from_numpy(grams.test.copy())).numpy() != grams.y_test
            assert wrong.mean() == kernel.svm_test_error
    K = ak.ntk(network, problem.x_train)
    Z = 1e-4 + K.diagonal().double().sqrt().mean().item()
    assert np.allclose(ak.saved_grams(run_dir, 1, "ntk").train, K / Z**2, rtol=1e-4)


def test_a_plan_counts_the_disk_space_of_the_grams(kept):
    run_dir, config = kept
    planned, without = (CostEstimator().estimate(one) for one in (config, to_config(compose(OPTIONS))))
    taken = sum(path.stat().st_size for path in (run_dir / "kernels").glob("*.npy"))
    assert planned.disk_bytes - without.disk_bytes == pytest.approx(taken, rel=0.1)
    # Gradients are rounded to bfloat16, the matrices are kept in float32.
    kernel = replace(config.kernel, dtype="bf16")
    assert CostEstimator().estimate(replace(config, kernel=kernel)).disk_bytes == planned.disk_bytes


def test_weights_stay_where_checkpoints_are_kept(kept):
    run_dir, _ = kept
    assert len(list((run_dir / "snapshots").glob("*.pt"))) == 2
    assert not list(run_dir.rglob("*.tmp"))


def test_what_was_not_kept_is_reported(kept, tmp_path):
    run_dir, _ = kept
    with pytest.raises(UserError, match=r"no ntk kernel of epoch 7: it has conjugate at epoch 0, .*ntk at epoch 1"):
        ak.saved_grams(run_dir, 7, "ntk")
    with pytest.raises(UserError, match="holds no ntk kernel of epoch 1 of evaluation x"):
        ak.saved_grams(run_dir, 1, "ntk", "x")
    with pytest.raises(UserError, match="holds no kernels: they are kept only with keep="):
        ak.saved_grams(tmp_path, 1, "ntk")


def test_two_evaluations_keep_theirs_side_by_side(copy):
    first = ak.saved_grams(copy, 1, "ntk")
    assert main(["evaluate", str(copy), "kernel.dtype=float64", "kernel.names=[ntk]"]) == 0
    with pytest.raises(UserError, match="of several evaluations: name one as evaluation_id"):
        ak.saved_grams(copy, 1, "ntk")
    ids = {record.evaluation_id for record in read_records(copy)}
    (other,) = ids - {first.evaluation_id}
    assert ak.saved_grams(copy, 1, "ntk", other).train.dtype == np.float64
    assert np.array_equal(ak.saved_grams(copy, 1, "ntk", first.evaluation_id).train, first.train)


def altered(path):
    with path.open("r+b") as file:
        file.seek(200)
        file.write(b"\x7f")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (altered, "its checksum differs"),
        (lambda path: path.write_bytes(path.read_bytes()[:-4]), "its checksum differs"),
        (lambda path: path.unlink(), "No such file"),
    ],
)
def test_a_damaged_matrix_is_reported(copy, damage, message):
    (path,) = (copy / "kernels").glob("step=0002.*.ntk.test.npy")
    damage(path)
    with pytest.raises(UserError, match=f"{path.name} is missing or was altered .*{message}.*evaluate the run again"):
        ak.saved_grams(copy, 1, "ntk")
    assert ak.saved_grams(copy, 0, "ntk").train.shape == (40, 40)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-30], "can't be read"),
        (lambda text: "[]", "is not a manifest"),
        (lambda text: text.replace('"sha256"', '"sha"'), "is not a manifest"),
        (lambda text: json.dumps({"version": 2, "files": {}}), "is of version 2, and this afterkernel reads 1"),
    ],
)
def test_a_damaged_manifest_is_reported_and_not_overwritten(copy, change, message):
    path = copy / "kernels" / "manifest.json"
    path.write_text(change(path.read_text()))
    before = path.read_bytes()
    with pytest.raises(UserError, match=message):
        ak.saved_grams(copy, 1, "ntk")
    assert main(["evaluate", str(copy)]) == 2
    assert path.read_bytes() == before


def test_pickled_objects_are_not_loaded(copy):
    folder = copy / "kernels"
    (path,) = folder.glob("step=0002.*.ntk.test.npy")
    np.save(path, np.array([object()]), allow_pickle=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    import hashlib

    manifest["files"][path.name]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="missing or was altered"):
        ak.saved_grams(copy, 1, "ntk")


@pytest.mark.parametrize(("keep", "stay"), [("keep=[]", 0), ("keep=[gram]", 2), ("keep=[checkpoint]", 2)])
def test_gram_matrices_of_samples_go_where_nothing_is_kept(tmp_path, keep, stay):
    made(tmp_path, keep, "measure.names=[kernel_distance]")
    assert len(list((tmp_path / "supports").glob("*.npz"))) == stay


def test_without_checkpoints_weights_go_when_all_is_recorded_and_the_run_is_finished(tmp_path, caplog, capsys):
    caplog.set_level("INFO")
    config = made(tmp_path, "keep=[]")
    assert not list((tmp_path / "snapshots").glob("*.pt"))
    assert len(list((tmp_path / "snapshots").glob("*.json"))) == 2
    assert not (tmp_path / "kernels").exists()
    before = read_records(tmp_path)
    run(config, tmp_path)
    assert "is finished already" in caplog.text
    assert read_records(tmp_path) == before
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "has no weights to evaluate (step=0.pt is missing): keep=[checkpoint], the default, keeps them" in (
        capsys.readouterr().err
    )
    made(tmp_path, "keep=[checkpoint]", "force=true")
    assert len(list((tmp_path / "snapshots").glob("*.pt"))) == 2


def test_weights_stay_while_a_record_is_missing(tmp_path, monkeypatch):
    evaluate = Evaluator.evaluate

    def stopped(self, network, snapshot, **named):
        if snapshot.epoch == 1:
            raise KeyboardInterrupt
        return evaluate(self, network, snapshot, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "evaluate", stopped)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path, "keep=[]")
    assert len(list((tmp_path / "snapshots").glob("*.pt"))) == 2
    made(tmp_path, "keep=[]")
    assert not list((tmp_path / "snapshots").glob("*.pt"))
    assert len(read_records(tmp_path)) == 2


def test_a_finished_run_can_be_made_to_keep_less(kept, tmp_path):
    made(tmp_path)
    assert list((tmp_path / "snapshots").glob("*.pt"))
    made(tmp_path, "keep=[]")
    assert not list((tmp_path / "snapshots").glob("*.pt"))


def test_an_unknown_word_is_reported():
    with pytest.raises(UserError, match=r"keep=kernel is not known: choose one of gram, checkpoint\."):
        to_config(compose(["keep=[kernel]"]))
