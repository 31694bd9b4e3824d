"""The function that is trained: the network, minus its initial output if that is asked for."""

from __future__ import annotations

import copy

import torch
from torch import nn

from afterkernel.types import Float, Tensor


class Centred(nn.Module):
    """x -> network(x) - initial(x), with `initial` the network as it is now: the function starts at zero.

    `initial` is not trained and stays in evaluation mode, so that it is a fixed function; the kernel of the difference
    is that of the network. Source: Chizat, Oyallon & Bach, arXiv 1812.07956.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.initial = copy.deepcopy(network).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Centred:
        """Set the mode of the network alone."""
        super().train(mode)
        self.initial.eval()
        return self

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n ..."]:
        """The difference of both outputs."""
        with torch.no_grad():
            start = self.initial(images)
        outputs: Tensor = self.network(images) - start
        return outputs


def trained_function(network: nn.Module, centered: bool) -> nn.Module:
    """The function that is trained, for a network that was initialised but not yet trained."""
    return Centred(network) if centered else network
