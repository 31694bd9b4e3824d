"""Initialisers, and the layers that carry them.

"glorot": Glorot-uniform weights, zero biases (what the paper's program had). "pytorch": PyTorch's own default.

The other three draw normal weights, have zero biases, and multiply in the forward pass. With fan_in the inputs of a
unit, n the width, and gain 2 before a ReLU and 1 at the output:

"ntk": the NTK parameterisation (Jacot et al., arXiv 1806.07572): unit variance, times sqrt(gain / fan_in).
"mup": the maximal update parameterisation (Yang & Hu, "Tensor Programs IV", ICML 2021, arXiv 2011.14522, whose abc
parameterisation has a = -1/2, 0, ..., 0, 1/2, b = 1/2, c = 0; Yang et al., arXiv 2203.03466, table 9). Weights of the
input layer have variance gain / (fan_in n) and factor sqrt(n), hidden ones variance gain / fan_in and factor 1, those
of the output variance 1 / n and factor 1 / sqrt(n); biases but that of the output have factor sqrt(n). SGD has one
learning rate for all widths. Adam's is divided by sqrt(n) for the weights of input and output and for all biases with a
factor, and by fan_in for hidden weights.
"meanfield": f(x) = (1 / n) sum_i a_i relu(<w_i, x> + b_i), a_i of variance 1 and w_i of variance gain / fan_in (Mei,
Montanari & Nguyen, PNAS 2018, arXiv 1804.06561). SGD's learning rate is multiplied by n, as in their equations, except
for the bias of the output, and Adam's is not changed. Only for one hidden layer; SGD moves it as it moves mup.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import torch.nn.functional as F
from torch import nn

from afterkernel.types import Tensor

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)
INITIALISERS = ("glorot", "pytorch", "ntk", "mup", "meanfield")
INPUT, HIDDEN, OUTPUT = "input", "hidden", "output"
RELU_GAIN, OUTPUT_GAIN = 2.0, 1.0


@dataclass(frozen=True)
class RateFactors:
    """What the learning rate is multiplied by for the weight and the bias of a layer, with SGD and with Adam."""

    sgd: tuple[float, float] = (1.0, 1.0)
    adam: tuple[float, float] = (1.0, 1.0)


class ScaledLinear(nn.Linear):
    """A linear layer whose weight is multiplied by `scale` and whose bias is multiplied by `bias_scale`."""

    scale = 1.0
    bias_scale = 1.0
    rate_factors = RateFactors()

    def forward(self, x: Tensor) -> Tensor:
        """Affine map of (..., in_features) to (..., out_features)."""
        # Inputs and outputs are multiplied, not the parameters: kernels recognise a layer by its parameters.
        outputs = F.linear(x * (self.scale / self.bias_scale), self.weight, self.bias)
        return outputs if self.bias_scale == 1 else outputs * self.bias_scale


class ScaledConv2d(nn.Conv2d):
    """A convolution whose weight is multiplied by `scale` and whose bias is multiplied by `bias_scale`."""

    scale = 1.0
    bias_scale = 1.0
    rate_factors = RateFactors()

    def forward(self, x: Tensor) -> Tensor:
        """Convolution of (n, c_in, h, w) to (n, c_out, h, w)."""
        x = x * (self.scale / self.bias_scale)
        outputs = F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        return outputs if self.bias_scale == 1 else outputs * self.bias_scale


def linear(inputs: int, outputs: int, init: str, role: str = HIDDEN) -> nn.Linear:
    """A linear layer with biases, initialised by `init`; `role` is "input", "hidden" or "output"."""
    layer = (ScaledLinear if _is_scaled(init) else nn.Linear)(inputs, outputs)
    return _initialise(layer, init, fan_in=inputs, role=role)


def convolution(
    inputs: int,
    outputs: int,
    init: str,
    role: str = HIDDEN,
    *,
    side: int = 3,
    stride: int = 1,
    bias: bool = True,
) -> nn.Conv2d:
    """A convolution with filters of side x side pixels and zero padding of side // 2, initialised by `init`."""
    kind = ScaledConv2d if _is_scaled(init) else nn.Conv2d
    layer = kind(inputs, outputs, kernel_size=side, stride=stride, padding=side // 2, bias=bias)
    return _initialise(layer, init, fan_in=side * side * inputs, role=role)


def _is_scaled(init: str) -> bool:
    return init not in ("glorot", "pytorch")


def _initialise(layer: Layer, init: str, fan_in: int, role: str) -> Layer:
    if init == "pytorch":
        return layer
    if isinstance(layer, (ScaledLinear, ScaledConv2d)):
        _scale(layer, init, fan_in, role)
    else:
        nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _scale(layer: ScaledLinear | ScaledConv2d, init: str, fan_in: int, role: str) -> None:
    """Draw the weights of a layer, and set its factors, as the docstring of this module defines them."""
    gain = OUTPUT_GAIN if role == OUTPUT else RELU_GAIN
    units = fan_in if role == OUTPUT else layer.weight.shape[0]  # the width n at this layer
    root = math.sqrt(units)
    std = 1.0
    if init == "ntk":
        layer.scale = math.sqrt(gain / fan_in)
    elif init == "mup":
        std = math.sqrt(gain / fan_in)
        if role == INPUT:
            std, layer.scale = std / root, root
        elif role == OUTPUT:
            layer.scale = 1 / root
        if role != OUTPUT:
            layer.bias_scale = root
        weight, bias = (1 / fan_in if role == HIDDEN else 1 / root), (1.0 if role == OUTPUT else 1 / root)
        layer.rate_factors = RateFactors(adam=(weight, bias))
    elif role == OUTPUT:
        layer.scale = 1 / units
        layer.rate_factors = RateFactors(sgd=(float(units), 1.0))
    else:
        std = math.sqrt(gain / fan_in)
        layer.rate_factors = RateFactors(sgd=(float(units), float(units)))
    nn.init.normal_(layer.weight, std=std)
