"""Settings of a training that do not change its numbers, apart from the seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Execution:
    """How a training is executed. Except for the seed, nothing here changes its numbers beyond the last digits.

    `identity` of the training is stored in all its files. `check_cancelled` is called after every step and before each
    file is written, and may raise to end the training.
    """

    seed: int
    device: torch.device
    identity: str = ""
    checkpoint_every_s: float = math.inf
    check_cancelled: Callable[[], None] = lambda: None
