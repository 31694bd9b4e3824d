"""MNIST: 28x28 grey images of handwritten digits, 60,000 for training and 10,000 for testing."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from afterkernel.data.source import ImageShape
from afterkernel.data.torchvision_source import TorchvisionSource
from afterkernel.errors import UserError
from afterkernel.options import option

# http://yann.lecun.com/exdb/mnist: two zeros, 8 for bytes, the number of dimensions; then each of them, big-endian.
_UBYTE = 0x0800

# SHA-256 of the four files as they were published, unpacked.
_PUBLISHED = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


@dataclass
class MNIST(TorchvisionSource):
    """Digits "0" to "9" of MNIST, 1 channel, official splits; files in root/MNIST/raw."""

    what: ClassVar[str] = "MNIST: handwritten digits, 28x28 pixels"
    name: str = option("mnist", "source of the images")
    minus: str = option("3", "class labelled 0")
    plus: str = option("8", "class labelled 1")

    label_names: ClassVar[tuple[str, ...]] = tuple(str(digit) for digit in range(10))
    shape: ClassVar[ImageShape | None] = (1, 28, 28)
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
                    "labels: replace both with the official files."
                )

    def warnings(self) -> list[str]:
        """Files that are not those that were published."""
        there = [name for name in self.files if (self._folder / name).is_file()]
        other = [name for name in there if _sha256(self._folder / name) != _PUBLISHED[name]]
        return [f"{name} is not the published file of MNIST: its SHA-256 differs" for name in other]

    def _count(self, file: Path, inner: tuple[int, ...]) -> int | None:
        """The number of samples in an IDX file, from its header; None if there is no file. UserError for damage."""
        if not file.is_file():
            return None
        dims = 1 + len(inner)
        with file.open("rb") as opened:
            header = opened.read(4 * (1 + dims))
        magic, *shape = (int.from_bytes(header[at : at + 4], "big") for at in range(0, 4 * (1 + dims), 4))
        fault = None
        if len(header) < 4 * (1 + dims) or magic != _UBYTE | dims:
            fault = f"it does not start like an IDX file of {'images' if inner else 'labels'}"
        elif tuple(shape[1:]) != inner:
            fault = f"its images are {shape[1]}x{shape[2]} pixels, not 28x28"
        elif file.stat().st_size != len(header) + math.prod(shape):
            fault = f"it is {file.stat().st_size} bytes long, but its header specifies {len(header) + math.prod(shape)}"
        elif not inner and (largest := max(file.read_bytes()[len(header) :], default=0)) > 9:
            fault = f"it contains the label {largest}, but digits are 0 to 9"
        if fault is not None:
            raise UserError(
                f"dataset.root={self.root}: {file} is damaged ({fault}): replace it with the official file."
            )
        return shape[0]


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
