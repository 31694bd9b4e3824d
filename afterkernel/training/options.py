"""Options of training and of snapshots."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from afterkernel.errors import UserError
from afterkernel.options import option
from afterkernel.training.snapshot_rule import SnapshotRule

if TYPE_CHECKING:
    from torch import nn

SGD, ADAM = "sgd", "adam"
CONSTANT, COSINE = "constant", "cosine"
# Options that runs of earlier versions did not have: at their defaults they are not part of a run's identity.
_ADDED = frozenset(
    {"optimizer", "momentum", "weight_decay", "lr_schedule", "label_noise", "output_scale", "centered_output"}
)


@dataclass
class Training:
    """Gradient descent on the cross-entropy of the logits, by default without momentum."""

    lr: float = option(0.01, "learning rate; with lr_schedule=cosine that of the first step", above=0)
    optimizer: str = option(
        SGD, "sgd, or adam with the betas 0.9 and 0.999 and decoupled weight decay (AdamW)", choices=(SGD, ADAM)
    )
    momentum: float = option(0.0, "momentum of sgd (not Nesterov's)", at_least=0, at_most=0.9999)
    lr_schedule: str = option(
        CONSTANT,
        "constant, or cosine: lr (1 + cos(pi t / T)) / 2 in step t of the T steps of training.epochs",
        choices=(CONSTANT, COSINE),
    )
    weight_decay: float = option(
        0.0,
        "weight decay of all parameters: for sgd times the parameters in the gradient, for adam decoupled",
        at_least=0,
    )
    label_noise: float = option(
        0.0,
        "share of the training labels that are replaced by the other class, or by another of several, drawn from the "
        "seed; test labels stay as they are",
        at_least=0,
        at_most=1,
    )
    output_scale: float = option(
        1.0,
        "the function that is trained is output_scale times the network, its loss divided by output_scale^2: large "
        "values give lazy training, small ones rich training",
        at_least=1e-4,
        at_most=1e4,
    )
    centered_output: bool = option(
        False, "subtract the output of the initial network, so that the trained function starts at zero"
    )
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
        off = {
            field.name for field in fields(self) if field.name in _ADDED and getattr(self, field.name) == field.default
        }
        if not self.augment or self.epochs == 0:
            off |= {"augment_angle_deg", "augment_shift_px"}
        if self.epochs == 0:
            off |= {"batch_size", "loss_target", "augment", "optimizer", "momentum", "lr_schedule", "weight_decay"}
        return frozenset(off)

    def check(self) -> None:
        """Raise UserError for options that do not go together."""
        if self.momentum > 0 and self.optimizer != SGD:
            raise UserError(
                f"training.momentum={self.momentum:g} is an option of training.optimizer=sgd: leave it out with "
                f"training.optimizer={self.optimizer}, which has a momentum of its own."
            )

    def check_network(self, network: nn.Module) -> None:
        """Raise UserError if such a network can't be trained with these options."""
        if self.centered_output and has_batch_norm(network):
            raise UserError(
                "training.centered_output=true subtracts the initial network as a fixed function, which a network with "
                "BatchNorm is not in training: choose an architecture without it, such as arch=vgg."
            )

    def check_batches(self, network: nn.Module, n: int) -> None:
        """Raise UserError if a batch of `n` training images has one image and the network has BatchNorm."""
        if self.epochs and has_batch_norm(network) and n % self.batch_size == min(1, self.batch_size - 1):
            raise UserError(
                f"training.batch_size={self.batch_size} leaves a single image for a batch of the {n} training images, "
                "and BatchNorm needs two or more: choose another size."
            )

    @property
    def augment_angle_rad(self) -> float:
        """The largest rotation in radians."""
        return math.radians(self.augment_angle_deg)


def has_batch_norm(network: nn.Module) -> bool:
    """Whether the network normalises by the statistics of a batch while it is trained."""
    # Imported here, since importing torch takes a second.
    from torch.nn.modules.batchnorm import _BatchNorm

    return any(isinstance(module, _BatchNorm) for module in network.modules())


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
