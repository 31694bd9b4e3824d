"""The base class of data sources: chooses two classes and a number of images, with checks."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.utils.data import Dataset

from afterkernel.data.problem import Problem
from afterkernel.errors import UserError
from afterkernel.options import check_bounds, option
from afterkernel.text import did_you_mean, natural_key
from afterkernel.types import Float, Int, Tensor

Split = tuple[Float[Tensor, "_ c h w"], Int[Tensor, " _"]]
ImageShape = tuple[int, int, int]

log = logging.getLogger(__name__)

# Fixed, so that one cap names the same images in every run.
CAP_SEED = 0
# Class names and image shape of the sources that had to be read for them, by their options.
_read_facts: dict[tuple[type[Source], str], tuple[list[str], ImageShape]] = {}


@dataclass
class Source:
    """A data set of images by class, and the pair of classes to classify; also a structured config.

    A subclass needs a `name`, its own options as fields, and `read`:

        @dataclass
        class Scans(Source):
            name: str = option("scans", "source of the images")
            path: str = option("scans.npz", "file with x_train, y_train, x_test and y_test", redact=True)

            def read(self, train: bool) -> Any:
                arrays, split = np.load(self.path), "train" if train else "test"
                return arrays[f"x_{split}"], arrays[f"y_{split}"]

    Everything else is derived. `classes`, where it is set, names the classes of the labels 0, 1, ...; without it a
    class is called as its label. With `classes` and `shape` (channels, height, width) set, options are checked before
    any image is read.
    """

    name: str = option("", "source of the images")
    minus: str = option("", "class labelled 0")
    plus: str = option("", "class labelled 1")
    max_train: int | None = option(None, "maximum number of training images; keeps the class proportions", at_least=2)
    max_test: int | None = option(None, "maximum number of test images; keeps the class proportions", at_least=2)

    classes: ClassVar[tuple[str, ...]] = ()
    shape: ClassVar[ImageShape | None] = None

    def read(self, train: bool) -> tuple[Any, Any] | Dataset[Any]:
        """Images and labels of the training or the test split, or a torch Dataset of (image, label) pairs.

        Images are a tensor or array of shape (n, c, h, w) or (n, h, w), of bytes or of floats in [0, 1]; labels are n
        numbers or names. Images of other classes than `minus` and `plus` may be left out.
        """
        raise TypeError(f"{type(self).__name__} does not say how to read its images")

    def class_names(self) -> list[str]:
        """Names of all classes, in the order of their labels."""
        return list(self.classes) or self._facts()[0]

    def image_shape(self) -> ImageShape:
        """Channels, height and width of the images."""
        return self.shape or self._facts()[1]

    def check_files(self) -> None:
        """Raise UserError if files that must be there are missing; cheap."""

    def warnings(self) -> list[str]:
        """Warnings about the files; they are logged, and recorded with every kernel."""
        return []

    def check(self) -> None:
        """Raise UserError for the first option that cannot work."""
        try:
            self._check()
        except OSError as error:
            raise UserError(f"dataset: {error.filename} can't be read ({error.strerror}).") from error

    def _check(self) -> None:
        check_bounds(self, "dataset.")
        known = self.class_names()
        for side, value in (("minus", self.minus), ("plus", self.plus)):
            if value not in known:
                message = (
                    f"dataset.{side}={value} is not a class of {self.name}" if value else f"dataset.{side} is not set"
                )
                raise UserError(f"{message}{did_you_mean(value, known)}: choose one of {_listed(known)}.")
        if self.minus == self.plus:
            raise UserError(f"dataset.minus={self.minus} and dataset.plus={self.plus} are the same class: choose two.")
        self.check_files()

    def load(self) -> Problem:
        """Load the problem of classifying `plus` against `minus`. Raises UserError for invalid options or files."""
        self.check()
        (x_train, y_train), (x_test, y_test) = self._splits()
        warnings = tuple(self.warnings())
        for warning in warnings:
            log.warning("dataset: %s", warning)
        return Problem(x_train, y_train, x_test, y_test, self.minus, self.plus, warnings)

    def _splits(self) -> tuple[Split, Split]:
        """The training and the test split of the pair, capped; images float32 in [0, 1], labels 0 and 1."""
        return self._pair(True, self.max_train), self._pair(False, self.max_test)

    def _pair(self, train: bool, cap: int | None) -> Split:
        images, names = self._arrays(train)
        positions, y = select_pair(names, self.minus, self.plus, cap)
        chosen = images[positions]
        # Bytes become floats only now: a whole data set of floats would be four times as large.
        scaled = chosen.float().div_(255) if chosen.dtype == torch.uint8 else chosen.float()
        if scaled.numel() and not (scaled.min() >= 0 and scaled.max() <= 1):
            raise UserError(f"dataset={self.name} has pixels that are not in [0, 1]: scale them, or give bytes.")
        return scaled.contiguous(), y

    def _arrays(self, train: bool) -> tuple[Tensor, list[str]]:
        """All images of a split (n, c, h, w) as they were read, and the names of their classes."""
        found: Any = self.read(train)
        if not (isinstance(found, tuple) and len(found) == 2):
            if isinstance(found, tuple) or not (hasattr(found, "__getitem__") and len(found)):
                raise UserError(
                    f"dataset={self.name} reads {type(found).__name__}: it must give images and labels, or a torch "
                    "Dataset of such pairs, and at least one."
                )
            pairs = [found[index] for index in range(len(found))]
            found = torch.stack([torch.as_tensor(image) for image, _ in pairs]), [label for _, label in pairs]
        images, labels = torch.as_tensor(found[0]), found[1]
        labels = [label.item() if hasattr(label, "item") else label for label in labels]
        images = images.unsqueeze(1) if images.dim() == 3 else images
        if images.dim() != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
            kind = f"{tuple(images.shape)} of {str(images.dtype).removeprefix('torch.')}"
            raise UserError(
                f"dataset={self.name} gives images of shape {kind}: they must be (n, c, h, w) or (n, h, w), of uint8 "
                "or of floats in [0, 1]."
            )
        if not len(images):
            raise UserError(f"dataset={self.name} has no image in its {'training' if train else 'test'} split.")
        if len(images) != len(labels):
            raise UserError(f"dataset={self.name} gives {len(images)} images and {len(labels)} labels: give one each.")
        return images, [self._class_name(label) for label in labels]

    def _class_name(self, label: Any) -> str:
        if isinstance(label, float) and label.is_integer():
            label = int(label)
        return self.classes[label] if self.classes else str(label)

    def _facts(self) -> tuple[list[str], ImageShape]:
        """Class names and image shape, by reading the training split once a process."""
        own = {name: value for name, value in dataclasses.asdict(self).items() if name not in ("max_train", "max_test")}
        key = type(self), json.dumps(own, sort_keys=True)
        if key not in _read_facts:
            images, names = self._arrays(True)
            c, h, w = images.shape[1:]
            _read_facts[key] = sorted(set(names), key=natural_key), (c, h, w)
        return _read_facts[key]


def select_pair(
    names: Sequence[str], minus: str, plus: str, cap: int | None
) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
    """Positions, ascending, of the images of two classes among the `names` of all, capped; and their labels 0, 1."""
    positions = torch.tensor([index for index, name in enumerate(names) if name in (minus, plus)], dtype=torch.int64)
    y = torch.tensor([int(name == plus) for name in names if name in (minus, plus)], dtype=torch.int64)
    kept = stratified_subset(y, cap)
    return positions[kept], y[kept]


def stratified_subset(y: Int[Tensor, " n"], cap: int | None) -> Int[Tensor, " k"]:
    """Positions, ascending, of `cap` of the labels 0 and 1, both classes in proportion (each at least one).

    The first images of each class in a random order from a fixed seed are taken. A cap therefore always selects the
    same images, and a smaller cap a subset of a larger one's, up to one image of rounding.
    """
    if cap is None or cap >= len(y):
        return torch.arange(len(y))
    of_plus = min(max(round(cap * int(y.sum()) / len(y)), 1), cap - 1)
    generator = torch.Generator().manual_seed(CAP_SEED)
    kept = []
    for label, count in ((0, cap - of_plus), (1, of_plus)):
        positions = (y == label).nonzero().flatten()
        kept.append(positions[torch.randperm(len(positions), generator=generator)[:count]])
    return torch.cat(kept).sort().values


def _listed(names: Sequence[str], most: int = 20) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
