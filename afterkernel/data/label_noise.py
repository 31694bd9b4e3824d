"""Wrong labels in the training set."""

from __future__ import annotations

from dataclasses import replace

import torch

from afterkernel.data.batches import generator
from afterkernel.data.problem import Problem

_LABELS = 2


def with_label_noise(problem: Problem, share: float, seed: int) -> Problem:
    """The problem with wrong labels for round(share * n) training images, which are drawn from the seed.

    Each gets another class, drawn uniformly: with two classes, the other one. Test labels do not change. Everything
    that is computed from the training labels, the SVMs and measures included, uses the wrong ones.
    """
    n, classes = len(problem.y_train), problem.n_classes
    wrong = round(share * n)
    if wrong == 0:
        return problem
    random = generator(_LABELS, seed, 0, 0)
    chosen = torch.randperm(n, generator=random)[:wrong]
    steps = torch.randint(1, classes, (wrong,), generator=random)
    labels = problem.y_train.clone()
    labels[chosen] = (labels[chosen] + steps) % classes
    return replace(problem, y_train=labels)
