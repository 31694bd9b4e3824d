import math
from functools import partial

import pytest
import pytorch_lightning as pl
import torch

from afterkernel.data.batches import Batches
from afterkernel.transforms import augment

IMAGES = torch.arange(10.0).reshape(10, 1, 1, 1).expand(10, 1, 4, 4) / 10
LABELS = torch.arange(10) % 2


def batches(epoch=0, seed=0, augmentation=None):
    loader = Batches(IMAGES, LABELS, 4, seed, augmentation)
    loader.set_epoch(epoch)
    return loader


def names(images):
    """Which image is which: its number."""
    return (images[:, 0, 0, 0] * 10).round().int().tolist()


def test_a_pass_gives_each_image_once_with_its_label():
    seen = list(batches())
    assert [len(x) for x, _ in seen] == [4, 4, 2]
    assert len(batches()) == 3
    order = [name for x, _ in seen for name in names(x)]
    assert sorted(order) == list(range(10))
    assert order != list(range(10))
    assert [int(label) for _, y in seen for label in y] == [name % 2 for name in order]


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(**key):
        return tuple(name for x, _ in batches(**key) for name in names(x))

    loader = batches()
    list(loader)
    assert tuple(name for x, _ in loader for name in names(x)) == order()
    keys = [{"epoch": epoch, "seed": seed} for epoch in range(3) for seed in range(3)]
    assert [order(**key) for key in keys] == [order(**key) for key in keys]
    assert len({order(**key) for key in keys}) == 9


def test_the_epoch_is_read_when_the_first_batch_is_requested():
    loader = batches(epoch=0)
    early = iter(loader)
    loader.set_epoch(5)
    assert torch.equal(next(early)[0], next(iter(batches(epoch=5)))[0])


def test_augmentation_depends_on_seed_epoch_and_step():
    def draw(images, generator):
        return images * 0 + torch.rand((), generator=generator)

    def draws(**key):
        return [x[0, 0, 0, 0].item() for x, _ in batches(augmentation=draw, **key)]

    assert draws(epoch=1) == draws(epoch=1)
    assert len({*draws(), *draws(epoch=1), *draws(seed=1), *draws(epoch=1, seed=1)}) == 12
    # Augmentation leaves the order as it is.
    plain, same = list(batches(epoch=2)), list(batches(epoch=2, augmentation=partial(augment, max_angle_rad=0.0)))
    assert all(torch.equal(a[1], b[1]) for a, b in zip(plain, same, strict=True))


def test_augment_fits_as_augmentation():
    turned = next(iter(batches(augmentation=partial(augment, max_angle_rad=math.radians(15), max_shift_px=1.0))))[0]
    assert turned.shape == (4, 1, 4, 4)
    # Each of these images is of one colour, which repeated edges keep.
    assert torch.allclose(turned, next(iter(batches()))[0], atol=1e-6)


class Recorder(pl.LightningModule):
    """A linear model that records the images of each epoch."""

    def __init__(self):
        super().__init__()
        self.layer, self.seen = torch.nn.Linear(16, 1), {}

    def training_step(self, batch, _):
        x, y = batch
        self.seen.setdefault(self.current_epoch, []).extend(names(x))
        return torch.nn.functional.binary_cross_entropy_with_logits(self.layer(x.flatten(1))[:, 0], y.float())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder, max_epochs, seed=0, checkpoint=None):
    model = Recorder()
    trainer = pl.Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(model, Batches(IMAGES, LABELS, 4, seed), ckpt_path=checkpoint)
    return trainer, model


# Lightning's own use of torch's pytrees.
@pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning")
def test_lightning_sets_the_epoch_and_a_resumed_run_sees_the_same_order(tmp_path):
    _, whole = fit(tmp_path, 4)
    expected = {epoch: [name for x, _ in batches(epoch) for name in names(x)] for epoch in range(4)}
    assert whole.seen == expected
    trainer, first = fit(tmp_path, 2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    _, second = fit(tmp_path, 4, checkpoint=str(tmp_path / "last.ckpt"))
    assert first.seen | second.seen == expected
    assert list(second.seen) == [2, 3]


@pytest.mark.parametrize(("n", "size", "count"), [(10, 5, 2), (10, 32, 1), (1, 1, 1)])
def test_number_of_batches(n, size, count):
    loader = Batches(IMAGES[:n], LABELS[:n], size, 0)
    assert len(loader) == count == len(list(loader))
