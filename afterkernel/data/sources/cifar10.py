"""CIFAR-10: 32x32 colour images of ten kinds of things, 50,000 for training and 10,000 for testing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from afterkernel.data.source import ImageShape
from afterkernel.data.torchvision_source import TorchvisionSource
from afterkernel.errors import UserError
from afterkernel.options import option


@dataclass
class CIFAR10(TorchvisionSource):
    """Classes airplane to truck of CIFAR-10, 3 channels, official splits; files in root/cifar-10-batches-py."""

    what: ClassVar[str] = "CIFAR-10: colour photographs of ten classes, 32x32 pixels"
    name: str = option("cifar10", "source of the images")
    minus: str = option("cat", "class labelled 0")
    plus: str = option("dog", "class labelled 1")

    label_names: ClassVar[tuple[str, ...]] = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    shape: ClassVar[ImageShape | None] = (3, 32, 32)
    folder: ClassVar[str] = "cifar-10-batches-py"
    files: ClassVar[tuple[str, ...]] = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")

    def _dataset(self, root: Path, train: bool) -> Any:
        from torchvision import datasets

        return datasets.CIFAR10(root, train=train, download=self.download)

    def _check_contents(self) -> None:
        """CIFAR-10 consists of pickles, which can run code: only the published files may be opened."""
        from torchvision.datasets import cifar
        from torchvision.datasets.utils import check_md5

        published = cifar.CIFAR10
        meta = (published.meta["filename"], published.meta["md5"])
        for name, md5 in [*published.train_list, *published.test_list, meta]:
            file = self._folder / name
            if file.is_file() and not check_md5(file, md5):
                raise UserError(
                    f"dataset.root={self.root}: {file} is not the file that CIFAR-10's authors published (its MD5 "
                    "differs): replace it, or remove it and set dataset.download=true."
                )
