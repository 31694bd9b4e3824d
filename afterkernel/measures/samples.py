"""The images that measures use: drawn only by a seed, so that they are the same for all snapshots of a run."""

from __future__ import annotations

import torch

from afterkernel.types import Int, Tensor


def sample_indices(n: int, size: int, seed: int) -> Int[Tensor, " k"]:
    """`size` of the numbers 0, ..., n - 1 without repetition, chosen by `seed`, ascending; all if there are fewer."""
    if n <= size:
        return torch.arange(n)
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:size].sort().values


def sample_images(images: Tensor, size: int, seed: int) -> Tensor:
    """`size` of the images (n, c, h, w), or of other samples, as `sample_indices` chooses them."""
    return images[sample_indices(len(images), size, seed).to(images.device)]
