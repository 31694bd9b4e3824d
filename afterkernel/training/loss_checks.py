"""Finds the weights at a training loss: checks of the loss during training, and the nearer of two of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from afterkernel.data.batches import generator
from afterkernel.data.problem import Problem
from afterkernel.training.metrics import loss_and_error
from afterkernel.training.module import Classifier
from afterkernel.training.options import PAPER, Training
from afterkernel.types import Tensor

_PAPER_FIRST = 10
_LOSS_CHECK = 3  # the first number of a key of `generator`


@dataclass(frozen=True)
class Check:
    """The loss (nats) that was found after a step, and a copy of the weights and buffers; None for the present ones."""

    step: int
    loss: float
    state: dict[str, Tensor] | None = None


def copied_state(module: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def nearer(before: Check | None, now: Check, loss: float) -> Check:
    """Of two checks the one that is nearer to a loss in its logarithm; the later one if they are equally near."""
    if before is None or abs(_log(before.loss / loss)) >= abs(_log(now.loss / loss)):
        return now
    return before


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else -math.inf


class LossChecks:
    """When the loss is checked, and on which images: `loss_check_images` of them, drawn from the seed.

    The subset is the same for a training that is resumed; drawing it does not change torch's random state.
    """

    def __init__(self, training: Training, problem: Problem, seed: int, steps_an_epoch: int) -> None:
        self.paper = training.loss_check == PAPER
        self.steps_an_epoch = steps_an_epoch
        self.per_epoch = min(training.loss_checks_per_epoch, steps_an_epoch)
        self.images, self.labels, self.n_outputs = problem.x_train, problem.y_train, problem.n_outputs
        n, wanted = len(problem.x_train), training.loss_check_images
        if not self.paper and wanted is not None and wanted < n:
            chosen = torch.randperm(n, generator=generator(_LOSS_CHECK, seed, 0, 0))[:wanted].sort().values
            self.images, self.labels = self.images[chosen], self.labels[chosen]

    def is_due(self, step: int) -> bool:
        """Whether the loss is checked after this step."""
        epoch, after_last = divmod(step, self.steps_an_epoch)
        if self.paper:
            return after_last == 0 and _is_paper_epoch(epoch)
        within = after_last or self.steps_an_epoch
        done, before = (count * self.per_epoch // self.steps_an_epoch for count in (within, within - 1))
        return done > before

    def check(self, module: Classifier, step: int) -> Check:
        """The loss of the present weights, in evaluation mode."""
        loss, _ = loss_and_error(module.function, self.images, self.labels, self.n_outputs)
        return Check(step, loss)


def _is_paper_epoch(epoch: int) -> bool:
    """Whether an epoch is one of 10, 30, 70, 150 ...: each is 2 x + 10 of the one before."""
    at = _PAPER_FIRST
    while at < epoch:
        at = 2 * at + _PAPER_FIRST
    return at == epoch
