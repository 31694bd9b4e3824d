"""The base of all sources: which two classes, how many images, and the checks of what a user asks for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from afterkernel.data.problem import Problem
from afterkernel.errors import UserError
from afterkernel.options import check_bounds, option
from afterkernel.text import did_you_mean
from afterkernel.types import Float, Int, Tensor

Split = tuple[Float[Tensor, "_ c h w"], Int[Tensor, " _"]]

log = logging.getLogger(__name__)

# Fixed, so that one cap names the same images in every run.
CAP_SEED = 0


@dataclass
class Source:
    """A data set of images by class, and the pair of classes to tell apart; also a structured config.

    A subclass gives `class_names`, `check_files` and `_read`, and the defaults of its options; its file in
    `afterkernel/data/sources/` is all that it needs.
    """

    name: str = option("", "source of the images")
    minus: str = option("", "class labelled 0")
    plus: str = option("", "class labelled 1")
    max_train: int | None = option(None, "at most this many training images, in the classes' proportion", at_least=2)
    max_test: int | None = option(None, "at most this many test images, in the classes' proportion", at_least=2)

    def class_names(self) -> list[str]:
        """Names of all classes, in the order of their labels."""
        raise TypeError(f"{type(self).__name__} does not say what its classes are")

    def check_files(self) -> None:
        """Raise UserError where files that must be there are missing; cheap."""

    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images, without reading them all."""
        raise TypeError(f"{type(self).__name__} does not say the shape of its images")

    def _read(self) -> tuple[Split, Split]:
        """The training and the test split, images float32 in [0, 1], labels 0 and 1."""
        raise TypeError(f"{type(self).__name__} does not say how to read its images")

    def _warnings(self) -> list[str]:
        """What is doubtful of files that can be read; logged, and recorded with every kernel."""
        return []

    def check(self) -> None:
        """Raise UserError for the first option that cannot work; reads no image."""
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
        """The problem of telling `plus` from `minus`. Raises UserError where options or files do not allow it."""
        self.check()
        (x_train, y_train), (x_test, y_test) = self._read()
        warnings = tuple(self._warnings())
        for warning in warnings:
            log.warning("dataset: %s", warning)
        return Problem(x_train, y_train, x_test, y_test, self.minus, self.plus, warnings)


def pick_pair(
    labels: Int[Tensor, " n"], minus: int, plus: int, cap: int | None
) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
    """Positions, ascending, of the images of two classes among `labels`, capped; and their labels 0 and 1."""
    positions = ((labels == minus) | (labels == plus)).nonzero().flatten()
    y = (labels[positions] == plus).long()
    kept = capped(y, cap)
    return positions[kept], y[kept]


def capped(y: Int[Tensor, " n"], cap: int | None) -> Int[Tensor, " k"]:
    """Positions, ascending, of `cap` of the labels 0 and 1, both classes in proportion (each at least one).

    Each class is put in a random order drawn from a fixed seed, and its first ones are taken: so a cap always names
    the same images, and a smaller cap takes a part of a larger one's, up to one image of rounding.
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
