"""A problem: two or more classes of images, with their official training and test splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch

from afterkernel.errors import UserError
from afterkernel.types import Int, Tensor


@dataclass(frozen=True, eq=False)
class Problem:
    """Classes of images; the splits are never merged.

    Two classes are `minus` (y = 0) and `plus` (y = 1). Of several, `classes` names those of y = 0, 1, ..., c - 1, and
    `minus` and `plus` are empty. Images are float32 in [0, 1], their pixels scaled and nothing else; labels are int64.
    `warnings` are about the files that they come from; they are stored in every record. `x_train` (n_train, c, h, w)
    and `x_test` (n_test, c, h, w) may also be samples of another shape, as those of a Recorder are.
    Raises UserError if images and labels do not match, or if a split lacks a class.
    """

    x_train: Tensor
    y_train: Int[Tensor, " n_train_labels"]
    x_test: Tensor
    y_test: Int[Tensor, " n_test_labels"]
    minus: str
    plus: str
    warnings: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise UserError(
                f"training images are of shape {tuple(self.x_train.shape[1:])} and test images of "
                f"{tuple(self.x_test.shape[1:])}: all must have the same shape."
            )
        for split, x, y in (("training", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            if len(x) != len(y):
                raise UserError(
                    f"there are {len(x)} {split} images and {len(y)} {split} labels: give one label per image."
                )
            if (found := torch.unique(y).tolist()) != list(range(self.n_classes)):
                wanted = f"each of 0, ..., {self.n_classes - 1}" if self.classes else "both 0 (minus) and 1 (plus)"
                raise UserError(f"{split} labels are {found}: they must hold {wanted}.")

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return len(self.classes) or 2

    @property
    def n_outputs(self) -> int:
        """Outputs of a network for this problem: one logit for two classes, otherwise one for each class."""
        return len(self.classes) or 1

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        c, h, w = self.x_train.shape[1:]
        return c, h, w

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the images and labels: of each array's data type, shape and bytes."""
        digest = hashlib.sha256()
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            digest.update(f"{array.dtype} {tuple(array.shape)} ".encode())
            digest.update(array.detach().cpu().numpy().tobytes())
        return digest.hexdigest()
