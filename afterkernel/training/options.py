"""Options of training and of snapshots."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from afterkernel.errors import UserError
from afterkernel.options import option
from afterkernel.training.snapshot_rule import SnapshotRule

if TYPE_CHECKING:
    from torch import nn

SGD, ADAM = "sgd", "adam"
CONSTANT, COSINE = "constant", "cosine"
WITHIN_EPOCHS, PAPER = "within_epochs", "paper"
NO_AUGMENTATION, ROTATION, ROTATION_SHIFT = "none", "rotation", "rotation_shift"
LOSS_CHECK_OPTIONS = ("loss_check", "loss_checks_per_epoch", "loss_check_images")
# Options that runs of earlier versions did not have: at their defaults they are not part of a run's identity.
_ADDED = frozenset(
    {
        *("optimizer", "momentum", "weight_decay", "lr_schedule", "label_noise", "output_scale", "centered_output"),
        "max_steps",
    }
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
        "constant, or cosine: lr (1 + cos(pi t / T)) / 2 in step t of the T steps of training.epochs, also where "
        "training ends earlier",
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
    max_steps: int | None = option(None, "maximum number of steps; training may end within an epoch", at_least=1)
    loss_target: float | None = option(
        None,
        "end training at the first check at which the loss on training images, in evaluation mode, is at most this; "
        "see loss_check",
        above=0,
    )
    loss_check: str = option(
        WITHIN_EPOCHS,
        "how loss_target and snapshot.losses are looked for: within_epochs, evenly within each epoch, and of the first "
        "check at or below a loss and the one before the weights nearer to it in log loss are taken; or paper, after "
        "epochs 10, 30, 70, 150 ... on all training images",
        choices=(WITHIN_EPOCHS, PAPER),
    )
    loss_checks_per_epoch: int = option(
        20, "checks of the loss in an epoch, the last at its end; of a shorter epoch every step is checked", at_least=1
    )
    loss_check_images: int | None = option(
        1000, "training images of a check, drawn from the seed; null for all", at_least=1
    )
    augment: str = option(
        NO_AUGMENTATION,
        "none, or training images turned randomly (rotation), or turned and shifted (rotation_shift), repeating edge "
        "pixels",
        choices=(NO_AUGMENTATION, ROTATION, ROTATION_SHIFT),
    )
    augment_angle_deg: float = option(15.0, "largest rotation in either direction", at_least=0, at_most=180)
    augment_shift_px: float = option(1.0, "largest shift in each direction", at_least=0)

    @property
    def inactive(self) -> frozenset[str]:
        """Options without effect, given the others. The learning rate is recorded even without training."""
        off = {
            field.name for field in fields(self) if field.name in _ADDED and getattr(self, field.name) == field.default
        }
        if self.augment == NO_AUGMENTATION or self.epochs == 0:
            off |= {"augment_angle_deg"}
        if self.augment != ROTATION_SHIFT or self.epochs == 0:
            off |= {"augment_shift_px"}
        if self.loss_check == PAPER:
            off |= {"loss_checks_per_epoch", "loss_check_images"}
        if self.epochs == 0:
            off |= {"batch_size", "loss_target", "augment", "optimizer", "momentum", "lr_schedule", "weight_decay"}
            off |= {"max_steps", *LOSS_CHECK_OPTIONS}
        return frozenset(off)

    @property
    def canonical(self) -> dict[str, Any]:
        """The values that these options had when there was one kind of augmentation, for the identity of a run."""
        spelled: dict[str, Any] = {NO_AUGMENTATION: False, ROTATION_SHIFT: True}
        return {"augment": spelled.get(self.augment, self.augment)}

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
    losses: list[float] = option(
        [], "losses on training images at which to snapshot, looked for as training.loss_check says", above=0
    )

    def until(self, last: float) -> list[float]:
        """The epochs of the snapshots of a training that ends after epoch `last`, apart from those at losses."""
        return self.rule().until(last)

    def rule(self, reached: Mapping[float, int] | None = None) -> SnapshotRule:
        """When a training is saved before its end; `reached` gives the steps at which losses were reached before."""
        return SnapshotRule(epochs=self.epochs, losses=self.losses, reached=reached)


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
