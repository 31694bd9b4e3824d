"""MLP: flatten, hidden ReLU layers of one width, linear."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

from torch import nn

from afterkernel.models.architecture import Architecture, ImageShape, Network, build
from afterkernel.models.layers import OUTPUT_GAIN, linear
from afterkernel.options import option


@dataclass
class MLP(Architecture):
    """`num_layers` hidden layers of one width."""

    name: str = option("mlp", "which architecture (set by arch=NAME)")
    num_layers: int = option(4, "number of hidden layers", at_least=1, at_most=1000)

    minimum_width = 5

    def count(self, width: int, image_shape: ImageShape) -> float:
        """d w + (layers - 1)(w + 1) w + w + 1, as in the paper; for c outputs (w + 1) c at the end."""
        hidden = prod(image_shape) * width + (self.num_layers - 1) * (width + 1) * width
        return hidden + (width + 1) * self.n_outputs

    def module(self, width: int, image_shape: ImageShape) -> nn.Sequential:
        """Flatten, hidden layers, linear."""
        sizes = [prod(image_shape)] + [width] * self.num_layers
        hidden = [layer for pair in pairwise(sizes) for layer in (linear(*pair, self.init), nn.ReLU())]
        return nn.Sequential(nn.Flatten(), *hidden, linear(width, self.n_outputs, self.init, OUTPUT_GAIN))


def mlp(image_shape: ImageShape, budget: int = 100_000, **options: Any) -> Network:
    """A multilayer perceptron for images (c, h, w) within a parameter budget; options are the fields of `MLP`.

    Its `.width` is that of every hidden layer. Source: P. M. Long, arXiv 2105.10585, section 2.
    """
    return build(MLP, image_shape, budget=budget, **options)
