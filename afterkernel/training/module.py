"""The Lightning module: SGD on the cross-entropy of the logits."""

from __future__ import annotations

import math

import pytorch_lightning as pl
import torch

from afterkernel.data.problem import Problem
from afterkernel.models import Network
from afterkernel.training.loss import cross_entropy
from afterkernel.training.metrics import measure
from afterkernel.training.options import Training
from afterkernel.training.snapshot import Snapshot
from afterkernel.types import Float, Int, Tensor


class Classifier(pl.LightningModule):
    """Trains a network on one problem; independent of kernels and SVMs."""

    def __init__(self, network: Network, problem: Problem, options: Training) -> None:
        super().__init__()
        self.network = network
        self.problem = problem
        self.options = options
        self._measured: Snapshot | None = None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Stochastic gradient descent without momentum."""
        return torch.optim.SGD(self.network.parameters(), lr=self.options.lr)

    def training_step(self, batch: tuple[Float[Tensor, "n c h w"], Int[Tensor, " n"]]) -> Float[Tensor, ""]:
        """Mean cross-entropy of a batch, in nats."""
        images, labels = batch
        return cross_entropy(self.network(images), labels, self.problem.n_outputs)

    def measure(self) -> Snapshot:
        """Loss and errors on the whole training and test sets, in evaluation mode; computed once a step."""
        step = self.trainer.global_step
        if self._measured is None or self._measured.step != step:
            steps_an_epoch = math.ceil(len(self.problem.x_train) / self.options.batch_size)
            self._measured = measure(self.network, self.problem, epoch=step // steps_an_epoch, step=step)
        return self._measured
