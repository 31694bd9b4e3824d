"""The data module of Lightning's trainer, over a problem in memory."""

from __future__ import annotations

import pytorch_lightning as pl

from afterkernel.data.batches import Augmentation, Batches
from afterkernel.data.problem import Problem


class ProblemDataModule(pl.LightningDataModule):
    """Training batches of a problem: images (b, c, h, w) and labels (b), in an order set by seed and epoch.

    `augmentation`, if given, maps a batch of images and a generator to a batch: `afterkernel.transforms.augment`, say.
    """

    def __init__(self, problem: Problem, batch_size: int, seed: int, augmentation: Augmentation | None = None) -> None:
        super().__init__()
        self.problem, self.batch_size, self.seed, self.augmentation = problem, batch_size, seed, augmentation

    def train_dataloader(self) -> Batches:
        """Batches of the training split; Lightning sets their epoch."""
        problem = self.problem
        return Batches(problem.x_train, problem.y_train, self.batch_size, self.seed, self.augmentation)
