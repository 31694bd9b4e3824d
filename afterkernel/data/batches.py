"""Batches for training, whose order and augmentation depend only on the seed and the epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from afterkernel.types import Float, Int, Tensor

Augmentation = Callable[[Tensor, torch.Generator], Tensor]

_ORDER, _AUGMENTATION = 0, 1  # the first number of a key; 2 is that of label noise, 3 of checks of the loss


class Batches:
    """One pass over images and labels in random order, batch by batch; the last batch may be smaller.

    The order is drawn from (seed, epoch) and the augmentation of a batch from (seed, epoch, step), so that a resumed
    run sees the same batches as an uninterrupted one. Whole batches are indexed at once: for data in memory this is
    faster than a torch DataLoader, which fetches image by image.
    """

    def __init__(
        self,
        x: Float[Tensor, "n c h w"],
        y: Int[Tensor, " n"],
        batch_size: int,
        seed: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.x, self.y, self.batch_size, self.seed, self.augmentation = x, y, batch_size, seed, augmentation
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch (from 0) of the next pass."""
        self.epoch = epoch

    @property
    def sampler(self) -> Batches:
        """Itself, since Lightning calls `set_epoch` of a loader's `sampler` when an epoch starts."""
        return self

    def __len__(self) -> int:
        """Number of batches in a pass."""
        return -(-len(self.x) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Float[Tensor, "b c h w"], Int[Tensor, " b"]]]:
        """Images and labels of each batch. As a generator it reads the epoch only when the first batch is requested."""
        epoch = self.epoch
        order = torch.randperm(len(self.x), generator=generator(_ORDER, self.seed, epoch, 0))
        for step, index in enumerate(torch.split(order, self.batch_size)):
            images = self.x[index]
            if self.augmentation is not None:
                images = self.augmentation(images, generator(_AUGMENTATION, self.seed, epoch, step))
            yield images, self.y[index]


def generator(*key: int) -> torch.Generator:
    """Random numbers that depend only on the key, of four numbers."""
    # SeedSequence maps similar keys to unrelated seeds. It ignores trailing zeros, so all keys have one length.
    state = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state)
