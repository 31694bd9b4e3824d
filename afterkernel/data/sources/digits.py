"""scikit-learn's handwritten digits: 1,797 images of 8x8 pixels that need no download."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from afterkernel.data.source import Source, Split, pick_pair
from afterkernel.imports import without_collections
from afterkernel.options import option
from afterkernel.types import Bool, Int, Tensor

# The data set has no official split: image 3, 7, 11, ... of each class, in the order of the file, is for testing.
TEST_EVERY = 4


@dataclass
class Digits(Source):
    """Digits "0" to "9" of scikit-learn, 1 channel, pixels 0 to 16 divided by 16; every 4th of a class for testing."""

    name: str = option("digits", "source of the images")
    minus: str = option("3", "class labelled 0")
    plus: str = option("8", "class labelled 1")

    def class_names(self) -> list[str]:
        """The ten digits."""
        return [str(digit) for digit in range(10)]

    def image_shape(self) -> tuple[int, int, int]:
        """One grey channel of 8x8 pixels."""
        return 1, 8, 8

    def _read(self) -> tuple[Split, Split]:
        with without_collections():
            from sklearn.datasets import load_digits

        data = load_digits()
        images = torch.from_numpy(data.images / 16).float().unsqueeze(1)
        labels = torch.from_numpy(data.target).long()
        testing = every_nth_of_class(labels)
        minus, plus = int(self.minus), int(self.plus)
        splits = []
        for part, cap in ((~testing, self.max_train), (testing, self.max_test)):
            positions, y = pick_pair(labels[part], minus, plus, cap)
            splits.append((images[part][positions], y))
        return splits[0], splits[1]


def every_nth_of_class(labels: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """True for the last of every TEST_EVERY images of each class, in their order."""
    testing = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels):
        testing[(labels == label).nonzero().flatten()[TEST_EVERY - 1 :: TEST_EVERY]] = True
    return testing
