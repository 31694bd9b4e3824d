"""Loss and error of a network on a whole set of images."""

from __future__ import annotations

import torch
from torch import nn

from afterkernel.data.problem import Problem
from afterkernel.records.answers import pack
from afterkernel.training.loss import cross_entropy, is_wrong
from afterkernel.training.snapshot import Snapshot
from afterkernel.types import Float, Int, Tensor

IMAGES_AT_ONCE = 500


@torch.no_grad()
def logits(network: nn.Module, images: Tensor) -> Float[Tensor, "n ..."]:
    """Logits (n,), or (n, k) of k > 1 outputs, in evaluation mode, float64, on the CPU; the mode is restored."""
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    try:
        parts = [network(part.to(device)).double().cpu() for part in torch.split(images, IMAGES_AT_ONCE)]
    finally:
        network.train(training)
    outputs = torch.cat(parts)
    return outputs.flatten() if outputs.numel() == len(outputs) else outputs


def loss_and_error(
    network: nn.Module, images: Tensor, labels: Int[Tensor, " n"], n_outputs: int = 1
) -> tuple[float, float]:
    """Mean cross-entropy (nats) and share of wrong answers in [0, 1] (see `afterkernel.training.loss`)."""
    outputs = logits(network, images)
    loss, wrong = cross_entropy(outputs, labels, n_outputs), is_wrong(outputs, labels, n_outputs)
    return loss.item(), wrong.double().mean().item()


def measure(network: nn.Module, problem: Problem, *, epoch: float, step: int) -> Snapshot:
    """The metrics of a snapshot: training loss in nats, training and test error in [0, 1]."""
    train_loss, train_error = loss_and_error(network, problem.x_train, problem.y_train, problem.n_outputs)
    wrong = is_wrong(logits(network, problem.x_test), problem.y_test, problem.n_outputs)
    return Snapshot(epoch, step, train_loss, train_error, wrong.double().mean().item(), pack(wrong))
