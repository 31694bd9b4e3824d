"""MNIST: 28x28 grey images of handwritten digits, 60,000 for training and 10,000 for testing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from afterkernel.data.torchvision_source import TorchvisionSource
from afterkernel.options import option


@dataclass
class MNIST(TorchvisionSource):
    """Digits "0" to "9" of MNIST, 1 channel, official splits; files in root/MNIST/raw."""

    name: str = option("mnist", "source of the images")
    minus: str = option("3", "class labelled 0")
    plus: str = option("8", "class labelled 1")

    classes: ClassVar[tuple[str, ...]] = tuple(str(digit) for digit in range(10))
    shape: ClassVar[tuple[int, int, int]] = (1, 28, 28)
    folder: ClassVar[str] = "MNIST/raw"
    files: ClassVar[tuple[str, ...]] = (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    )

    def _dataset(self, root: Path, train: bool) -> Any:
        from torchvision import datasets

        return datasets.MNIST(root, train=train, download=self.download)
