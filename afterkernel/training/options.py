"""Options of training and of snapshots."""

from __future__ import annotations

import math
from dataclasses import dataclass

from afterkernel.options import option
from afterkernel.training.snapshot_rule import SnapshotRule


@dataclass
class Training:
    """Stochastic gradient descent without momentum on the cross-entropy of the logits."""

    lr: float = option(0.01, "learning rate", above=0)
    batch_size: int = option(32, "images per step", at_least=1)
    epochs: int = option(10, "maximum number of epochs", at_least=0)
    loss_target: float | None = option(
        None,
        "stop at the end of the first epoch with at most this loss on the training set, in evaluation mode",
        above=0,
    )
    augment: bool = option(False, "rotate and shift training images randomly, repeating edge pixels")
    augment_angle_deg: float = option(15.0, "largest rotation in either direction", at_least=0, at_most=180)
    augment_shift_px: float = option(1.0, "largest shift in each direction", at_least=0)

    @property
    def inactive(self) -> frozenset[str]:
        """Options without effect, given the others. The learning rate is recorded even without training."""
        off = {"augment_angle_deg", "augment_shift_px"} if not self.augment or self.epochs == 0 else set()
        return frozenset(off | ({"batch_size", "loss_target", "augment"} if self.epochs == 0 else set()))

    @property
    def augment_angle_rad(self) -> float:
        """The largest rotation in radians."""
        return math.radians(self.augment_angle_deg)


@dataclass
class Snapshots:
    """When the network is saved, in addition to the end of training."""

    epochs: list[int] = option([0, 1, 2, 5, 10], "epochs after which to snapshot; 0 is the initialisation", at_least=0)

    def until(self, last: int) -> list[int]:
        """The epochs of all snapshots of a training that ends after epoch `last`."""
        return self.rule().until(last)

    def rule(self) -> SnapshotRule:
        """When a training is saved before its end."""
        return SnapshotRule(epochs=self.epochs)


@dataclass
class Trainer:
    """Where the work runs."""

    device: str = option(
        "auto", "auto uses a GPU if there is one", choices=("auto", "cpu", "cuda"), affects_results=False
    )
    checkpoint_every_s: float = option(
        10.0,
        "minimum seconds between checkpoints, which are written at the end of an epoch; 0 for every epoch",
        at_least=0,
        affects_results=False,
    )
    threads: int | None = option(
        None, "CPU threads; null is torch's default", at_least=1, at_most=1024, affects_results=False
    )
