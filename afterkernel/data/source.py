"""The base class of data sources: chooses classes and a number of images, with checks."""

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
# Classes of dataset.classes: two are dataset.minus and dataset.plus, whose network has one logit.
_FEWEST = 3
# Class names and image shape of the sources that had to be read for them, by their options.
_read_facts: dict[tuple[type[Source], str], tuple[list[str], ImageShape]] = {}


@dataclass
class Source:
    """A data set of images by class, and the classes to classify, a pair or several; also a structured config.

    A subclass needs a `name`, its own options as fields, and `read`:

        @dataclass
        class Scans(Source):
            name: str = option("scans", "source of the images")
            path: str = option("scans.npz", "file with x_train, y_train, x_test and y_test", redact=True)

            def read(self, train: bool) -> Any:
                arrays, split = np.load(self.path), "train" if train else "test"
                return arrays[f"x_{split}"], arrays[f"y_{split}"]

    Everything else is derived. `label_names`, where it is set, names the classes of the labels 0, 1, ... that `read`
    returns; without it a class is called as its label. With `label_names` and `shape` (channels, height, width) set,
    options are checked before any image is read.
    """

    # What help says of it in one line; without it, the first sentence of the docstring.
    what: ClassVar[str] = ""

    name: str = option("", "source of the images")
    minus: str = option("", "class labelled 0")
    plus: str = option("", "class labelled 1")
    classes: Any = option(
        [], "three classes or more, labelled 0, 1, ..., or all; replaces minus and plus", alternative="all"
    )
    max_train: int | None = option(None, "maximum number of training images; keeps the class proportions", at_least=2)
    max_test: int | None = option(None, "maximum number of test images; keeps the class proportions", at_least=2)

    label_names: ClassVar[tuple[str, ...]] = ()
    shape: ClassVar[ImageShape | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if isinstance(vars(cls).get("classes"), (tuple, list)):
            raise UserError(f"{cls.__name__}.classes is an option of every data source: rename it to label_names.")

    def __post_init__(self) -> None:
        if isinstance(self.classes, list):
            # Numbers are names too; OmegaConf converts them only where it knows the type.
            self.classes = [str(name) if type(name) is int else name for name in self.classes]
        if self.classes:
            defaults = {field.name: field.default for field in dataclasses.fields(self)}
            self.minus, self.plus = (
                "" if value == defaults[name] else value for name, value in (("minus", self.minus), ("plus", self.plus))
            )

    def read(self, train: bool) -> tuple[Any, Any] | Dataset[Any]:
        """Images and labels of the training or the test split, or a torch Dataset of (image, label) pairs.

        Images are a tensor or array of shape (n, c, h, w) or (n, h, w), of bytes or of floats in [0, 1]; labels are n
        numbers or names. Images of classes that are not among `chosen_classes` may be left out.
        """
        raise TypeError(f"{type(self).__name__} does not say how to read its images")

    def class_names(self) -> list[str]:
        """Names of all classes, in the order of their labels."""
        return list(self.label_names) or self._facts()[0]

    def chosen_classes(self) -> list[str]:
        """Names of the classes to classify, in the order of the labels 0, 1, ... of the problem."""
        if not self.classes:
            return [self.minus, self.plus]
        return self.class_names() if self.classes == "all" else list(self.classes)

    @property
    def title(self) -> str:
        """The name of the data set in records, tables and figures."""
        return self.name

    @property
    def n_outputs(self) -> int:
        """Outputs of a network for these classes, as `Problem.n_outputs`."""
        return len(self.chosen_classes()) if self.classes else 1

    @property
    def inactive(self) -> frozenset[str]:
        """Options without effect, given the others."""
        return frozenset({"minus", "plus"} if self.classes else {"classes"})

    @property
    def canonical(self) -> dict[str, Any]:
        """The one spelling of options that have several: `all` is the list of all classes."""
        return {"classes": self.chosen_classes()} if self.classes else {}

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
        if self.classes:
            self._check_several()
        else:
            self._check_pair()
        self.check_files()

    def _check_pair(self) -> None:
        known = self.class_names()
        for side, value in (("minus", self.minus), ("plus", self.plus)):
            if not value:
                raise UserError(
                    f"dataset.{side} is not set: choose one of {_listed(known)}, or give several as dataset.classes."
                )
            if value not in known:
                raise UserError(
                    f"dataset.{side}={value} is not a class of {self.name}{did_you_mean(value, known)}: choose one of "
                    f"{_listed(known)}."
                )
        if self.minus == self.plus:
            raise UserError(f"dataset.minus={self.minus} and dataset.plus={self.plus} are the same class: choose two.")

    def _check_several(self) -> None:
        known, chosen = self.class_names(), self.chosen_classes()
        given = "dataset.classes=" + (self.classes if self.classes == "all" else f"[{','.join(self.classes)}]")
        for side, value in (("minus", self.minus), ("plus", self.plus)):
            if value:
                raise UserError(
                    f"dataset.{side}={value} and {given} are both given: give either dataset.minus and dataset.plus, "
                    "or dataset.classes."
                )
        for name in chosen:
            if name not in known:
                raise UserError(
                    f"{given}: {name} is not a class of {self.name}{did_you_mean(name, known)}: choose from "
                    f"{_listed(known)}."
                )
        if len(chosen) < _FEWEST:
            of_two = f", or two as dataset.minus={chosen[0]} and dataset.plus={chosen[1]}" if len(chosen) == 2 else ""
            raise UserError(f"{given} has fewer than {_FEWEST} classes: give at least {_FEWEST}{of_two}.")
        for split, cap in (("train", self.max_train), ("test", self.max_test)):
            if cap is not None and cap < len(chosen):
                raise UserError(
                    f"dataset.max_{split}={cap} is too small: with {len(chosen)} classes it must be at least "
                    f"{len(chosen)}."
                )

    def load(self) -> Problem:
        """Load the problem of classifying the chosen classes. Raises UserError for invalid options or files."""
        self.check()
        (x_train, y_train), (x_test, y_test) = self._splits()
        warnings = tuple(self.warnings())
        for warning in warnings:
            log.warning("dataset: %s", warning)
        classes = tuple(self.chosen_classes()) if self.classes else ()
        return Problem(x_train, y_train, x_test, y_test, self.minus, self.plus, warnings, classes)

    def _splits(self) -> tuple[Split, Split]:
        """The two splits of the chosen classes, capped; images float32 in [0, 1], labels 0, 1, ..."""
        return self._split(True, self.max_train), self._split(False, self.max_test)

    def _split(self, train: bool, cap: int | None) -> Split:
        images, names = self._arrays(train)
        positions, y = select_classes(names, self.chosen_classes(), cap)
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
        return self.label_names[label] if self.label_names else str(label)

    def _facts(self) -> tuple[list[str], ImageShape]:
        """Class names and image shape, by reading the training split once a process."""
        own = {name: value for name, value in dataclasses.asdict(self).items() if name not in ("max_train", "max_test")}
        key = type(self), json.dumps(own, sort_keys=True)
        if key not in _read_facts:
            images, names = self._arrays(True)
            c, h, w = images.shape[1:]
            _read_facts[key] = sorted(set(names), key=natural_key), (c, h, w)
        return _read_facts[key]


def select_classes(
    names: Sequence[str], classes: Sequence[str], cap: int | None
) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
    """Positions, ascending, of the images of `classes` among the `names` of all, capped; and their labels 0, 1, ..."""
    labels = {name: label for label, name in enumerate(classes)}
    positions = torch.tensor([index for index, name in enumerate(names) if name in labels], dtype=torch.int64)
    y = torch.tensor([labels[name] for name in names if name in labels], dtype=torch.int64)
    kept = stratified_subset(y, cap)
    return positions[kept], y[kept]


def stratified_subset(y: Int[Tensor, " n"], cap: int | None) -> Int[Tensor, " k"]:
    """Positions, ascending, of `cap` of the labels 0, 1, ..., all classes in proportion (each at least one).

    The first images of each class in a random order from a fixed seed are taken. A cap therefore always selects the
    same images, and a smaller cap a subset of a larger one's, up to one image of rounding.
    """
    if cap is None or cap >= len(y):
        return torch.arange(len(y))
    generator = torch.Generator().manual_seed(CAP_SEED)
    kept = []
    for label, count in enumerate(_shares(torch.bincount(y).tolist(), cap)):
        positions = (y == label).nonzero().flatten()
        kept.append(positions[torch.randperm(len(positions), generator=generator)[:count]])
    return torch.cat(kept).sort().values


def _shares(sizes: list[int], total: int) -> list[int]:
    """`total` divided among classes in proportion to their sizes, each at least one."""
    exact = [total * size / sum(sizes) for size in sizes]
    if len(sizes) == 2:  # rounded as ever, so that a cap selects the same images
        of_plus = min(max(round(exact[1]), 1), total - 1)
        return [total - of_plus, of_plus]
    counts = [max(int(share), 1) for share in exact]
    while sum(counts) != total:
        step = 1 if sum(counts) < total else -1
        # The class furthest from its share; with equal distances the first.
        of_most = max(range(len(sizes)), key=lambda i: (counts[i] + step >= 1, step * (exact[i] - counts[i])))
        counts[of_most] += step
    return counts


def _listed(names: Sequence[str], most: int = 20) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
