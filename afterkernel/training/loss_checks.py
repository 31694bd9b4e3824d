"""Finds the weights at a training loss: checks of the loss during training, and the nearer of two of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from afterkernel.data.batches import generator
from afterkernel.data.problem import Problem
from afterkernel.training.loss import cross_entropies, cross_entropy
from afterkernel.training.metrics import logits
from afterkernel.training.options import PAPER, Training
from afterkernel.types import Tensor

_PAPER_FIRST = 10
_LOSS_CHECK = 3  # the first number of a key of `generator`
_PARTS = 10  # a check evaluates up to half of so many parts of its images alone, and then all images at once
_ROUNDING = 1e-3  # more than a sum of losses changes with the number of images that are evaluated at once


@dataclass(frozen=True)
class Check:
    """The loss (nats) that was found after a step, and a copy of the weights and buffers; None for the present ones.

    The loss is None if it was above all losses that were looked for, and is not known more exactly.
    """

    step: int
    loss: float | None
    state: dict[str, Tensor] | None = None


def copied_state(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def nearer(before: Check | None, now: Check, loss: float) -> Check:
    """Of two checks the one that is nearer to a loss in its logarithm; the later one if they are equally near."""
    return now if before is None or _distance(before, loss) >= _distance(now, loss) else before


def _distance(check: Check, loss: float) -> float:
    assert check.loss is not None
    return abs(math.log(check.loss / loss)) if check.loss > 0 else math.inf


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
        # The loss of each image as it was last evaluated: the largest come first in the next check.
        self._last = torch.zeros(len(self.labels), dtype=torch.float64)

    def is_due(self, step: int) -> bool:
        """Whether the loss is checked after this step."""
        epoch, after_last = divmod(step, self.steps_an_epoch)
        if self.paper:
            return after_last == 0 and _is_paper_epoch(epoch)
        within = after_last or self.steps_an_epoch
        done, before = (count * self.per_epoch // self.steps_an_epoch for count in (within, within - 1))
        return done > before

    def check(self, function: nn.Module, step: int, largest: float) -> Check:
        """Check a network, in evaluation mode, for losses of at most `largest`."""
        return Check(step, None if self._is_above(function, largest) else self.loss(function))

    def loss(self, function: nn.Module) -> float:
        """The loss of a network, in evaluation mode."""
        outputs = logits(function, self.images)
        self._last = cross_entropies(outputs, self.labels, self.n_outputs)
        return cross_entropy(outputs, self.labels, self.n_outputs).item()

    def _is_above(self, function: nn.Module, largest: float) -> bool:
        """Whether a part of the images is enough to see that the loss is above `largest`; not if a term is not finite.

        No term of the mean is negative, so it is at least the sum over these images divided by the number of all.
        """
        bound, total = largest * (1 + _ROUNDING) * len(self.labels), 0.0
        hardest = self._last.argsort(descending=True)
        for part in torch.split(hardest, math.ceil(len(hardest) / _PARTS))[: _PARTS // 2]:
            outputs = logits(function, self.images[part])
            self._last[part] = cross_entropies(outputs, self.labels[part], self.n_outputs)
            total += self._last[part].sum().item()
            if not math.isfinite(total):
                return False
            if total > bound:
                return True
        return False


def _is_paper_epoch(epoch: int) -> bool:
    """Whether an epoch is one of 10, 30, 70, 150 ...: each is 2 x + 10 of the one before."""
    at = _PAPER_FIRST
    while at < epoch:
        at = 2 * at + _PAPER_FIRST
    return at == epoch
