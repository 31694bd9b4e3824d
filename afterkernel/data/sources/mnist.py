"""MNIST: 28x28 grey images of handwritten digits, 60,000 for training and 10,000 for testing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from afterkernel.data.torchvision_source import TorchvisionSource
from afterkernel.errors import UserError
from afterkernel.options import option

# http://yann.lecun.com/exdb/mnist: two zeros, 8 for bytes, the number of dimensions; then each of them, big-endian.
_UBYTE = 0x0800


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

    def check_files(self) -> None:
        """Raise UserError for a file that is missing, or damaged where none is to be downloaded."""
        super().check_files()
        if not self.download:
            self._check_contents()

    def _check_contents(self) -> None:
        """Headers, sizes and counts must fit."""
        for images, labels in (self.files[:2], self.files[2:]):
            counts = {
                name: self._count(self._folder / name, inner) for name, inner in ((images, (28, 28)), (labels, ()))
            }
            if None not in counts.values() and counts[images] != counts[labels]:
                raise UserError(
                    f"dataset.root={self.root}: {images} holds {counts[images]} images and {labels} {counts[labels]} "
                    "labels: replace both by the official files."
                )

    def _count(self, file: Path, inner: tuple[int, ...]) -> int | None:
        """How many samples of a shape an IDX file holds, by its header; None where it is not there."""
        if not file.is_file():
            return None
        dims = 1 + len(inner)
        with file.open("rb") as opened:
            header = opened.read(4 * (1 + dims))
        magic, *shape = (int.from_bytes(header[at : at + 4], "big") for at in range(0, 4 * (1 + dims), 4))
        fault = None
        if len(header) < 4 * (1 + dims) or magic != _UBYTE | dims:
            fault = f"it does not begin as an IDX file of {'images' if inner else 'labels'} does"
        elif tuple(shape[1:]) != inner:
            fault = f"its images are {shape[1]}x{shape[2]} pixels, not 28x28"
        elif file.stat().st_size != len(header) + math.prod(shape):
            fault = f"it is {file.stat().st_size} bytes long, and its header says {len(header) + math.prod(shape)}"
        if fault is not None:
            raise UserError(f"dataset.root={self.root}: {file} is damaged ({fault}): replace it by the official file.")
        return shape[0]
