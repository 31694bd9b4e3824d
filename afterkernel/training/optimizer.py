"""The optimiser and the schedule of its learning rate, from the options."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from afterkernel.models.layers import RateFactors
from afterkernel.training.options import ADAM, COSINE, Training


def make_optimizer(network: nn.Module, options: Training) -> torch.optim.Optimizer:
    """SGD, or Adam with decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101)."""
    groups = parameter_groups(network, options)
    if options.optimizer == ADAM:
        return torch.optim.AdamW(groups, lr=options.lr, weight_decay=options.weight_decay)
    return torch.optim.SGD(groups, lr=options.lr, momentum=options.momentum, weight_decay=options.weight_decay)


def parameter_groups(network: nn.Module, options: Training) -> list[dict[str, Any]]:
    """The trained parameters in groups of one learning rate each (`afterkernel.models.layers`).

    A step shrinks all weights by the same share, lr * weight_decay, whatever factor their learning rate has.
    """
    factors: dict[int, float] = {}
    for module in network.modules():
        given = getattr(module, "rate_factors", None)
        if isinstance(given, RateFactors):
            pair = given.adam if options.optimizer == ADAM else given.sgd
            factors |= {
                id(parameter): factor
                for parameter, factor in zip((module.weight, module.bias), pair, strict=True)
                if parameter is not None
            }
    groups: dict[float, list[nn.Parameter]] = defaultdict(list)
    for parameter in network.parameters():
        groups[factors.get(id(parameter), 1.0)].append(parameter)
    return [
        {"params": parameters, "lr": options.lr * factor, "weight_decay": options.weight_decay / factor}
        for factor, parameters in groups.items()
    ]


def make_schedule(optimizer: torch.optim.Optimizer, options: Training, steps: int) -> LambdaLR | None:
    """The schedule over `steps` steps; None for a constant learning rate.

    The rate is a function of the number of the step alone, so that a resumed training has the same rates.
    """
    if options.lr_schedule != COSINE:
        return None
    return LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * min(step, steps) / steps)) / 2)
