"""The check of signatures that all tests run with detects each kind of error."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
import torch
import typecheck
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from afterkernel.claims.readings import Reading
from afterkernel.svm.checks import check_labels
from afterkernel.text import closest

if TYPE_CHECKING:
    from somewhere import Unknown

Vectors = tuple[Float[Tensor, " n"], Float[Tensor, " n"]]


def checked(function):
    return typecheck.checked(function, typecheck.of_signature)


@checked
def doubled(count: int, unknown: Unknown = None) -> int:
    return "2" if count == 1 else 2 * count


@checked
def sums(x: Float[Tensor, "n p"], y: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    return x.sum(0) if y[0] > 1 else x.sum(1)


@checked
def paired(vectors: Vectors) -> None:
    pass


@checked
@dataclasses.dataclass(frozen=True)
class Labelled:
    x: Float[Tensor, "n p"]
    labels: Float[Tensor, " n"]
    name: str = ""


def within():
    @checked
    def inner(x: Float[Tensor, " n"], count: int) -> Float[Tensor, " n"]:
        return x[:count]

    return inner


def test_types():
    assert doubled(2) == 4
    for wrong in ("2", 1):  # the argument, and what is returned
        with pytest.raises(BeartypeCallHintViolation):
            doubled(wrong)


def test_shapes():
    x, y = torch.zeros(2, 3), torch.zeros(2)
    assert sums(x, y).shape == (2,)
    paired((y, y))
    for call in (lambda: sums(x, torch.zeros(3)), lambda: sums(x, y + 2), lambda: paired((y, torch.zeros(3)))):
        with pytest.raises(BeartypeCallHintViolation, match="dimension n"):
            call()


def test_fields_of_dataclasses():
    x, labels = torch.zeros(2, 3), torch.zeros(2)
    assert Labelled(x, labels=labels).x is x
    for wrong in ((x, labels, 1), (x, labels.int()), (x, torch.zeros(3))):
        with pytest.raises(BeartypeCallHintViolation):
            Labelled(*wrong)


def test_functions_that_are_defined_again_at_each_call():
    for _ in range(2):
        assert within()(torch.zeros(2), 2).shape == (2,)
        for wrong in (1, "2"):
            with pytest.raises(TypeCheckError):
                within()(torch.zeros(2), wrong)


def test_the_package_is_checked():
    with pytest.raises(BeartypeCallHintViolation):
        closest(3, ["a"])
    with pytest.raises(BeartypeCallHintViolation):
        Reading("1")
    with pytest.raises(BeartypeCallHintViolation, match="n is 3 which does not equal the existing value of 2"):
        check_labels(torch.zeros(2), torch.zeros(2, 3))
