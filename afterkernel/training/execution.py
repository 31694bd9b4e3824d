"""Settings of a training that do not change its numbers, apart from the seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from afterkernel.options import LARGEST_INT
from afterkernel.records.training_curve import TrainingPoint


@dataclass(frozen=True)
class Execution:
    """How a training is executed. Except for the seed, nothing here changes its numbers beyond the last digits.

    `identity` of the training is stored in all its files. `check_cancelled` is called after every step and before each
    file is written, and may raise to end the training. `on_point` gets the points of the training curve, every
    `curve_every` steps and at the end of each epoch and of training; it must not raise.
    """

    seed: int
    device: torch.device
    identity: str = ""
    checkpoint_every_s: float = math.inf
    check_cancelled: Callable[[], None] = lambda: None
    curve_every: int = LARGEST_INT
    on_point: Callable[[TrainingPoint], None] = lambda _: None
