"""What a `Recorder` is given, checked: options of the evaluation, samples and labels, tags."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from afterkernel.config import Config, compose, typed
from afterkernel.config.identity import EVALUATION_SECTIONS
from afterkernel.data import Problem
from afterkernel.errors import UserError
from afterkernel.kernel_kinds import KINDS
from afterkernel.measures import Measure
from afterkernel.options import check_bounds
from afterkernel.text import a_kind, did_you_mean, plain
from afterkernel.types import Tensor

_SECTIONS = (*EVALUATION_SECTIONS, "plugins")


def evaluation_config(kernels: Any, options: Any, problem: Problem) -> Config:
    """A configuration whose sections kernel, svm and measure hold these options, such as "svm=libsvm"; checked.

    Measures that need images (n, c, h, w) are left out for other samples, unless the options name them. Raises
    UserError for an unknown kernel, an option of another section, or a value that can't work.
    """
    words = _words("options", options)
    for word in words:
        if word.partition("=")[0].lstrip("+~").partition(".")[0] not in _SECTIONS:
            raise UserError(
                f"options: {word} has no effect on a Recorder, which takes options of kernel, svm and measure."
            )
    if kernels is not None:
        names = _words("kernels", kernels)
        words.append(f"kernel.names=[{','.join(names)}]")
        for name in names:
            if name not in KINDS and not any(word.startswith("plugins=") for word in words):
                raise UserError(
                    f"kernels={names} holds {name!r}{did_you_mean(name, KINDS)}: choose from {', '.join(KINDS)}."
                )
    config = typed(compose(words))
    if not config.kernel.names:
        raise UserError(f"kernels=[] is empty: give at least one of {', '.join(KINDS)}.")
    named = any(word.startswith(("measure=", "measure.names=")) for word in words)
    config = _with_fitting_measures(config, problem, named)
    check_bounds(config)
    config.svm.check()
    config.measure.check()
    return config


def _with_fitting_measures(config: Config, problem: Problem, named: bool) -> Config:
    x = problem.x_train
    if x.ndim == 4 and x.is_floating_point():
        config.measure.check_images(*x.shape[2:])
        return config
    kinds = config.measure.kinds()
    of_images = [name for name in config.measure.names if kinds[name].of_images is not Measure.of_images]
    if of_images and named:
        raise UserError(
            f"measure.names holds {of_images[0]}, which is of images: the samples have shape {tuple(x.shape)} and are "
            f"of {x.dtype}, not floats (n, channels, height, width)."
        )
    kept = [name for name in config.measure.names if name not in of_images]
    return dataclasses.replace(config, measure=dataclasses.replace(config.measure, names=kept))


def recorded_problem(train: Any, test: Any, classes: Any) -> Problem:
    """The samples and labels of a training as a problem, its classes named by their labels unless by `classes`.

    Raises UserError for what is no pair of samples and labels, for labels of one class, and for labels that are not
    whole numbers where there are several classes.
    """
    (x_train, y_train), (x_test, y_test) = _pair("train", train), _pair("test", test)
    values = torch.unique(y_train).tolist()
    if len(values) < 2:
        raise UserError("train holds the labels of one class: give labels of two or more, such as 0 and 1 or -1 and 1.")
    if len(values) > 2 and any(value % 1 for value in values):
        raise UserError(f"train holds labels such as {plain(values[0])}: those of several classes are whole numbers.")
    if other := sorted(set(torch.unique(y_test).tolist()) - set(values)):
        raise UserError(f"test holds the label {plain(other[0])}, which train does not: give both the same labels.")
    names = [plain(value) for value in values] if classes is None else _words("classes", classes)
    if len(names) != len(values):
        raise UserError(
            f"classes={names} names {len(names)} classes and train holds {len(values)}: name each in the order of the "
            "labels."
        )
    order = torch.unique(y_train)
    labels = [torch.searchsorted(order, y.to(order.dtype)) for y in (y_train, y_test)]
    given = x_train, labels[0], x_test, labels[1]
    if len(values) > 2:
        return Problem(*given, minus="", plus="", classes=tuple(names))
    return Problem(*given, minus=names[0], plus=names[1])


def checked_tags(tags: Any) -> dict[str, Any]:
    """Tags by name. UserError for values that are not a string, a number or true or false."""
    if not isinstance(tags, Mapping):
        raise UserError(f'tags={tags!r} is not a dictionary: give one, such as tags={{"width": 64}}.')
    for name, value in tags.items():
        if not isinstance(name, str) or not isinstance(value, (str, int, float)) or value != value:
            raise UserError(
                f"tags holds {name!r}: {value!r}: a tag is a name with a string, a number, or True or False."
            )
    return dict(tags)


def _pair(name: str, given: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 2:
        raise UserError(f"{name} is not a pair: give it as {name}=(samples, labels).")
    x, y = (_tensor(f"{name}[{place}]", value) for place, value in enumerate(given))
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise UserError(f"the labels in {name} have shape {tuple(y.shape)}: give one number for each sample.")
    if len(x) != len(y):
        raise UserError(f"{name} has {len(x)} samples and {len(y)} labels: give one label for each sample.")
    return x, y


def _tensor(name: str, given: Any) -> Tensor:
    """The values on the CPU, in memory of their own where they were an array."""
    if isinstance(given, np.ndarray) and given.dtype.kind in "biuf":
        return torch.tensor(given)
    if not isinstance(given, Tensor) or given.ndim == 0:
        raise UserError(f"{name} is {a_kind(given)}: give a tensor or a numpy array, its first axis the samples.")
    return given.detach().cpu()


def _words(name: str, given: Any) -> list[str]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not all(isinstance(one, str) for one in given):
        raise UserError(f"{name}={given!r} is not a list of strings.")
    return list(given)
