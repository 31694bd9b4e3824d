"""How a training is carried out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Execution:
    """How a training is carried out: none of this but the seed changes its numbers, up to last digits.

    All files carry `identity`, that of the training. `check_cancelled` is called after every step and before every
    file is written, and may raise to end the training.
    """

    seed: int
    device: torch.device
    identity: str = ""
    checkpoint_every_s: float = math.inf
    check_cancelled: Callable[[], None] = lambda: None
