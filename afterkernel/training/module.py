"""The Lightning module: gradient descent on the cross-entropy of the logits."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch

from afterkernel.data.problem import Problem
from afterkernel.models import Network
from afterkernel.training.function import Centred
from afterkernel.training.loss import cross_entropy
from afterkernel.training.metrics import measure
from afterkernel.training.optimizer import make_optimizer, make_schedule
from afterkernel.training.options import Training
from afterkernel.training.snapshot import Snapshot
from afterkernel.types import Float, Int, Tensor


class Classifier(pl.LightningModule):
    """Trains a network on one problem; independent of kernels and SVMs."""

    def __init__(self, network: Network, problem: Problem, options: Training) -> None:
        super().__init__()
        self.network = network
        self.centred = Centred(network) if options.centered_output else None
        self.problem = problem
        self.options = options
        self._measured: Snapshot | None = None

    @property
    def function(self) -> torch.nn.Module:
        """The function that is trained."""
        return self.network if self.centred is None else self.centred

    @property
    def steps_an_epoch(self) -> int:
        """Number of batches of an epoch."""
        return math.ceil(len(self.problem.x_train) / self.options.batch_size)

    @property
    def most_steps(self) -> int:
        """Number of steps after which training ends, if nothing else ends it before."""
        steps = self.options.epochs * self.steps_an_epoch
        return steps if self.options.max_steps is None else min(steps, self.options.max_steps)

    @property
    def current_lr(self) -> float:
        """The learning rate `lr`, as its schedule has changed it; those of single parameters may be multiples of it."""
        group = self.trainer.optimizers[0].param_groups[0]
        return float(self.options.lr * group["lr"] / group.get("initial_lr", group["lr"]))

    def configure_optimizers(self) -> Any:
        """The optimiser, and the schedule of the learning rate if it has one; the rate changes after each step."""
        optimizer = make_optimizer(self.network, self.options)
        schedule = make_schedule(optimizer, self.options, self.options.epochs * self.steps_an_epoch)
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: tuple[Float[Tensor, "n c h w"], Int[Tensor, " n"]]) -> dict[str, Tensor]:
        """The mean cross-entropy of a batch in nats, and the loss: divided by the square of the output's scale.

        So the speed at which the function changes does not depend on the scale (arXiv 1812.07956).
        """
        images, labels = batch
        nats = cross_entropy(self.function(images), labels, self.problem.n_outputs)
        return {"loss": nats / self.network.output_scale**2, "cross_entropy": nats.detach()}

    def measure(self) -> Snapshot:
        """Loss and errors on the whole training and test sets, in evaluation mode; computed once a step."""
        step = self.trainer.global_step
        if self._measured is None or self._measured.step != step:
            self._measured = measure(self.function, self.problem, epoch=step / self.steps_an_epoch, step=step)
        return self._measured
