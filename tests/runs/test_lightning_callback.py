"""KernelSnapshot in Lightning trainings of a foreign module."""

import types

import pytest
import pytorch_lightning as pl
import torch
from recorder_case import Net, data, recorder
from torch.nn import functional as F

import afterkernel as ak
from afterkernel.errors import UserError
from afterkernel.records import read_run

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*logging interval.*")


class Lit(pl.LightningModule):
    """A LightningModule with the network of `recorder_case`."""

    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x):
        """The logits."""
        return self.net(x)

    def training_step(self, batch, _):
        """Cross-entropy, logged."""
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self):
        """SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.2)


def fit(*callbacks, max_epochs=2, **options):
    """Train for some epochs of three steps."""
    torch.manual_seed(0)
    module = Lit()
    dataset = torch.utils.data.TensorDataset(*data(24, 0))
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(max_epochs=max_epochs, accelerator="cpu", callbacks=list(callbacks), **quiet, **options)
    trainer.fit(module, torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True))
    return module


def records(made):
    return {step: record for (step, _), record in read_run(made.run_dir, made.run_id).items()}


def test_steps_and_epochs_are_recorded_and_the_training_is_the_same(tmp_path):
    made = recorder(tmp_path, kernels=["conjugate"], steps=[0, 1], epochs=[1, 1.5])
    watched = fit(ak.KernelSnapshot(made))
    drawn = torch.get_rng_state()
    plain = fit()
    assert torch.equal(drawn, torch.get_rng_state())
    for a, b in zip(watched.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    found = records(made)
    assert {step: (one.epoch, one.final) for step, one in found.items()} == {
        0: (0.0, False),
        1: (pytest.approx(1 / 3), False),
        3: (1.0, False),
        5: (pytest.approx(5 / 3), False),
        6: (2.0, True),
    }


def test_a_loss_is_compared_at_the_end_of_each_epoch(tmp_path):
    losses = []

    class Watch(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            losses.append(float(trainer.callback_metrics["train_loss"]))

    fit(Watch(), max_epochs=3)
    target = sorted(losses)[1]
    made = recorder(tmp_path, kernels=["conjugate"], steps=[], losses=[target])
    fit(ak.KernelSnapshot(made, monitor="train_loss", end=False, network=lambda module: module.net), max_epochs=3)
    reached = next(epoch for epoch, loss in enumerate(losses, start=1) if loss <= target)
    assert {step: one.provenance["losses_reached"] for step, one in records(made).items()} == {3 * reached: [target]}


def test_nothing_is_recorded_in_a_dev_run(tmp_path):
    made = recorder(tmp_path, kernels=["conjugate"])
    fit(ak.KernelSnapshot(made), fast_dev_run=True)
    assert records(made) == {}


def test_mistakes_are_one_sentence(tmp_path):
    made = recorder(tmp_path, kernels=["conjugate"], steps=[], losses=[0.1])
    with pytest.raises(UserError, match=r"the Recorder has losses=, and monitor= does not name a loss"):
        ak.KernelSnapshot(made)
    with pytest.raises(UserError, match=r"monitor='loss' is not logged: name one of train_loss."):
        fit(ak.KernelSnapshot(made, monitor="loss"), max_epochs=1)
    with pytest.raises(UserError, match=r"the first argument is a str, not a Recorder"):
        ak.KernelSnapshot("runs/mine")
    with pytest.raises(UserError, match=r"nothing is chosen: give the Recorder steps=, epochs= or losses="):
        ak.KernelSnapshot(recorder(tmp_path, steps=[]), end=False)
    sharded = types.SimpleNamespace(strategy=type("FSDPStrategy", (), {})(), world_size=2)
    with pytest.raises(UserError, match=r"FSDPStrategy may divide the training between processes"):
        ak.KernelSnapshot(recorder(tmp_path)).on_train_start(sharded, None)
