"""Loss and error of a network on a whole set of images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from afterkernel.data.problem import Problem
from afterkernel.training.snapshot import Snapshot
from afterkernel.types import Float, Int, Tensor

IMAGES_AT_ONCE = 500


@torch.no_grad()
def logits(network: nn.Module, images: Tensor) -> Float[Tensor, " n"]:
    """Logits (n,) in evaluation mode, float64, on the CPU; the network's mode is restored."""
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    try:
        parts = [network(part.to(device)).flatten().double().cpu() for part in torch.split(images, IMAGES_AT_ONCE)]
    finally:
        network.train(training)
    return torch.cat(parts)


def loss_and_error(network: nn.Module, images: Tensor, labels: Int[Tensor, " n"]) -> tuple[float, float]:
    """Mean binary cross-entropy (nats) and share of wrong answers in [0, 1], the logit thresholded at 0."""
    outputs = logits(network, images)
    loss = F.binary_cross_entropy_with_logits(outputs, labels.double())
    error = ((outputs > 0) != (labels > 0)).double().mean()
    return loss.item(), error.item()


def measure(network: nn.Module, problem: Problem, *, epoch: int, step: int) -> Snapshot:
    """The metrics of a snapshot: training loss in nats, training and test error in [0, 1]."""
    train_loss, train_error = loss_and_error(network, problem.x_train, problem.y_train)
    _, test_error = loss_and_error(network, problem.x_test, problem.y_test)
    return Snapshot(epoch, step, train_loss, train_error, test_error)
