"""Training against a plain loop, snapshots, the loss target, divergence."""

import json
import math
import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

import afterkernel as ak
from afterkernel.data.sources.digits import Digits
from afterkernel.errors import UserError
from afterkernel.progress.work import Stage
from afterkernel.training import snapshot
from afterkernel.training.execution import Execution
from afterkernel.training.metrics import loss_and_error
from afterkernel.training.options import Snapshots, Training
from afterkernel.training.train import train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def problem():
    return Digits(max_train=70, max_test=20).load()


def fit(problem, run_dir, seed=0, epochs=2, snapshots=(0, 1, 2), **options):
    torch.manual_seed(seed)
    network = ak.models.mlp(problem.image_shape, width=6, num_layers=1)
    training = Training(epochs=epochs, **options)
    summary = train(network, problem, training, Snapshots(list(snapshots)), run_dir, Execution(seed, CPU))
    return network, summary


def saved_epochs(run_dir):
    return [snapshot.read(path).epoch for path in snapshot.paths(run_dir)]


def test_one_epoch_is_plain_sgd(problem, tmp_path):
    trained, _ = fit(problem, tmp_path, epochs=1, lr=0.5, batch_size=1000)
    torch.manual_seed(0)
    plain = ak.models.mlp(problem.image_shape, width=6, num_layers=1)
    loss = F.binary_cross_entropy_with_logits(plain(problem.x_train), problem.y_train.float())
    loss.backward()
    for ours, theirs in zip(trained.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs - 0.5 * theirs.grad)


def test_every_image_is_seen_once_an_epoch(problem, tmp_path):
    _, summary = fit(problem, tmp_path, epochs=3, batch_size=32)
    facts = [snapshot.read(path) for path in snapshot.paths(tmp_path)]
    assert summary.epochs == 3
    assert [(s.epoch, s.step) for s in facts] == [(0, 0), (1, 3), (2, 6), (3, 9)]


def test_snapshots_are_chosen_epochs_and_the_end(problem, tmp_path):
    network, _ = fit(problem, tmp_path, epochs=4, snapshots=(0, 2, 9))
    assert saved_epochs(tmp_path) == [0, 2, 4]
    again = ak.models.mlp(problem.image_shape, width=6, num_layers=1)
    facts = snapshot.load(tmp_path, again, snapshot.paths(tmp_path)[-1])
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True))
    loss, train_error = loss_and_error(network, problem.x_train, problem.y_train)
    _, test_error = loss_and_error(network, problem.x_test, problem.y_test)
    assert (facts.train_loss, facts.net_train_error, facts.net_test_error) == (loss, train_error, test_error)


def test_no_epochs_leave_the_initialisation(problem, tmp_path):
    torch.manual_seed(0)
    start = ak.models.mlp(problem.image_shape, width=6, num_layers=1)
    network, summary = fit(problem, tmp_path, epochs=0)
    assert summary.epochs == 0
    assert saved_epochs(tmp_path) == [0]
    assert all(torch.equal(a, b) for a, b in zip(start.parameters(), network.parameters(), strict=True))


def test_training_repeats_with_its_seed_and_differs_with_another(problem, tmp_path):
    first, _ = fit(problem, tmp_path / "a", augment="rotation_shift")
    again, _ = fit(problem, tmp_path / "b", augment="rotation_shift")
    other, _ = fit(problem, tmp_path / "c", augment="rotation_shift", seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_augmentation_changes_training(problem, tmp_path):
    plain, _ = fit(problem, tmp_path / "a")
    augmented, _ = fit(problem, tmp_path / "b", augment="rotation_shift")
    assert not torch.equal(next(plain.parameters()), next(augmented.parameters()))


def test_the_loss_target_stops_training_at_the_nearer_epoch(problem, tmp_path):
    fit(problem, tmp_path / "all", epochs=12, lr=0.3, snapshots=range(13))
    losses = [snapshot.read(path).train_loss for path in snapshot.paths(tmp_path / "all")]
    target = 0.5 * (losses[5] + losses[6])
    reached = next(epoch for epoch, loss in enumerate(losses) if loss <= target)
    first = min(reached - 1, reached, key=lambda epoch: abs(math.log(losses[epoch] / target)))
    once = {"loss_checks_per_epoch": 1}
    _, summary = fit(problem, tmp_path / "some", epochs=12, lr=0.3, loss_target=target, snapshots=(0,), **once)
    assert (summary.epochs, summary.stopped_by, summary.loss_target_reached) == (first, "loss_target", True)
    assert saved_epochs(tmp_path / "some") == [0, first]


def test_a_loss_target_out_of_reach_is_reported(problem, tmp_path, caplog):
    _, summary = fit(problem, tmp_path, epochs=1, loss_target=1e-9)
    assert (summary.stopped_by, summary.loss_target_reached) == ("epochs", False)
    assert "training.loss_target=1e-09 was not reached" in caplog.text


def test_divergence_is_reported_and_snapshots_stay(problem, tmp_path, caplog):
    _, summary = fit(problem, tmp_path, epochs=9, lr=1e30)
    assert "training.lr=1e+30 is too large" in caplog.text
    assert saved_epochs(tmp_path) == [0]
    assert snapshot.read_summary(tmp_path) == summary


def test_the_logit_is_thresholded_at_zero():
    class Constant(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = torch.nn.Parameter(torch.tensor(value))

        def forward(self, x):
            return self.value.expand(len(x))

    images, labels = torch.zeros(4, 1, 1, 1), torch.tensor([0, 1, 1, 1])
    assert loss_and_error(Constant(0.3), images, labels)[1] == 0.25
    assert loss_and_error(Constant(-0.3), images, labels)[1] == 0.75


def test_metrics_are_those_of_evaluation_mode():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.9), torch.nn.Linear(4, 1)).train()
    images, labels = torch.rand(50, 1, 2, 2), torch.randint(2, (50,))
    logits = network.eval()(images).flatten()
    expected = F.binary_cross_entropy_with_logits(logits, labels.float()).item()
    network.train()
    assert loss_and_error(network, images, labels)[0] == pytest.approx(expected, rel=1e-6)
    assert network.training


def test_a_damaged_snapshot_is_refused(problem, tmp_path):
    network, _ = fit(problem, tmp_path)
    path = snapshot.paths(tmp_path)[0]
    weights = path.with_suffix(".pt")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    with pytest.raises(UserError, match="truncated or was altered"):
        snapshot.load(tmp_path, network, path)
    weights.write_bytes(whole)
    wider = ak.models.mlp(problem.image_shape, width=7, num_layers=1)
    with pytest.raises(UserError, match="a different network"):
        snapshot.load(tmp_path, wider, path)
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"surprise": 1}))  # of a later version
    assert snapshot.load(tmp_path, network, path).epoch == facts["epoch"]
    path.write_text(json.dumps({name: value for name, value in facts.items() if name != "epoch"}))
    with pytest.raises(UserError, match="not a snapshot of this version"):
        snapshot.load(tmp_path, network, path)
    weights.unlink()
    path.write_text(json.dumps(facts))
    with pytest.raises(UserError, match="can't be read"):
        snapshot.load(tmp_path, network, path)


def test_the_progress_of_training_is_reported_at_every_step(problem, tmp_path, monkeypatch):
    reports = []
    update = Stage.update

    def kept(self, done, detail=None):
        update(self, done, detail)
        reports.append((self.name, round(done, 6), detail))

    monkeypatch.setattr(Stage, "update", kept)
    fit(problem, tmp_path, epochs=2, batch_size=32)
    assert [(name, done) for name, done, _ in reports] == [("training", round(step / 3, 6)) for step in range(1, 7)]
    assert [detail.partition(", loss ")[0] for *_, detail in reports] == ["epoch 1 of 2"] * 3 + ["epoch 2 of 2"] * 3
    assert all(0.3 < float(detail.partition(", loss ")[2].partition(", ")[0]) < 2 for *_, detail in reports)
    assert all(re.fullmatch(r".*, [\d,]+ images/s", detail) for *_, detail in reports)
    reports.clear()
    fit(problem, tmp_path / "target", epochs=5, batch_size=100, loss_target=1e9)
    assert reports == [("training", 1.0, reports[0][2])]
    assert reports[0][2].startswith("epoch 1 of at most 5, loss ")


NO_LIGHTNING = """
import sys
from afterkernel.__main__ import main
main(sys.argv[1:])
assert "afterkernel.runs.run" in sys.modules
loaded = {"pytorch_lightning", "torchvision", "altair", "wandb"} & sys.modules.keys()
assert not loaded, loaded
"""


def test_a_run_that_trains_nothing_does_without_the_imports_of_lightning(tmp_path):
    words = ["arch=mlp", "arch.width=4", "training.epochs=0", "kernel.names=[ntk]", "measure.num_images=4"]
    words += ["dataset.max_train=20", "dataset.max_test=10", "logger=none"]
    done = subprocess.run([sys.executable, "-c", NO_LIGHTNING, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("runs/*/*/snapshots/*.pt"))
