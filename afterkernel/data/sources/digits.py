"""scikit-learn's handwritten digits: 1,797 images of 8x8 pixels that need no download."""

from __future__ import annotations

import gzip
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from afterkernel.data.source import ImageShape, Source
from afterkernel.options import option
from afterkernel.types import Bool, Int, Tensor

# The data set has no official split: image 3, 7, 11, ... of each class, in the order of the file, is for testing.
TEST_EVERY = 4
# Of scikit-learn's package.
_FILE = "datasets/data/digits.csv.gz"


@dataclass
class Digits(Source):
    """Digits "0" to "9" of scikit-learn, 1 channel, pixels 0 to 16 divided by 16; every 4th of a class for testing."""

    what: ClassVar[str] = "scikit-learn's handwritten digits, 8x8 pixels; needs no download"
    name: str = option("digits", "source of the images")
    minus: str = option("3", "class labelled 0")
    plus: str = option("8", "class labelled 1")

    label_names: ClassVar[tuple[str, ...]] = tuple(str(digit) for digit in range(10))
    shape: ClassVar[ImageShape | None] = (1, 8, 8)

    def read(self, train: bool) -> tuple[Any, Any]:
        """Images (n, 8, 8) and labels of one split."""
        images, digits = read_digits()
        labels = torch.from_numpy(digits).long()
        chosen = every_nth_of_class(labels) ^ train
        return torch.from_numpy(images / 16)[chosen], labels[chosen]


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """The images (n, 8, 8), with pixels 0 to 16, and labels of scikit-learn's `load_digits`.

    Its file is read without importing scikit-learn, which takes longer than a short run works.
    """
    spec = importlib.util.find_spec("sklearn")
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    file = next((path for folder in folders if (path := Path(folder, _FILE)).is_file()), None)
    if file is None:  # another version may keep it elsewhere
        from sklearn.datasets import load_digits

        data = load_digits()
        return data.images, data.target
    with gzip.open(file, "rt", encoding="ascii") as lines:
        table = np.loadtxt(lines, delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(int)


def every_nth_of_class(labels: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """True for the last of every TEST_EVERY images of each class, in their order."""
    testing = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels):
        testing[(labels == label).nonzero().flatten()[TEST_EVERY - 1 :: TEST_EVERY]] = True
    return testing
