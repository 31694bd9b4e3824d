"""Initialisers, and the layers that carry them.

"glorot": Glorot-uniform weights, zero biases (what the paper's program had). "pytorch": PyTorch's own default.
"ntk": the NTK parameterisation (Jacot et al., arXiv 1806.07572): standard normal weights, scaled in the forward pass
by sqrt(gain / fan_in), gain 2 before a ReLU and 1 at the output; zero biases.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch.nn.functional as F
from torch import nn

from afterkernel.types import Tensor

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)
INITIALISERS = ("glorot", "pytorch", "ntk")
RELU_GAIN, OUTPUT_GAIN = 2.0, 1.0


class ScaledLinear(nn.Linear):
    """A linear layer in the NTK parameterisation: its input, so its weight, is multiplied by `scale`."""

    scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Affine map of (..., in_features) to (..., out_features)."""
        return F.linear(x * self.scale, self.weight, self.bias)


class ScaledConv2d(nn.Conv2d):
    """A convolution in the NTK parameterisation: its input, so its weight, is multiplied by `scale`."""

    scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Convolution of (n, c_in, h, w) to (n, c_out, h, w)."""
        return F.conv2d(x * self.scale, self.weight, self.bias, self.stride, self.padding)


def linear(inputs: int, outputs: int, init: str, gain: float = RELU_GAIN) -> nn.Linear:
    """A linear layer with biases, initialised by `init`."""
    layer = ScaledLinear(inputs, outputs) if init == "ntk" else nn.Linear(inputs, outputs)
    return _initialise(layer, init, fan_in=inputs, gain=gain)


def convolution(inputs: int, outputs: int, init: str) -> nn.Conv2d:
    """A 3x3 convolution with biases and "same" zero padding, initialised by `init`."""
    kind = ScaledConv2d if init == "ntk" else nn.Conv2d
    return _initialise(kind(inputs, outputs, kernel_size=3, padding=1), init, fan_in=9 * inputs, gain=RELU_GAIN)


def _initialise(layer: Layer, init: str, fan_in: int, gain: float) -> Layer:
    if init == "pytorch":
        return layer
    if isinstance(layer, (ScaledLinear, ScaledConv2d)):
        nn.init.normal_(layer.weight)
        layer.scale = math.sqrt(gain / fan_in)
    else:
        nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
