"""MLP: flatten, hidden ReLU layers of one width, linear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, ClassVar

from torch import nn

from afterkernel.models.architecture import Architecture, ImageShape, Network, build
from afterkernel.models.layers import HIDDEN, INPUT, OUTPUT, linear
from afterkernel.options import option


@dataclass
class MLP(Architecture):
    """`num_layers` hidden layers of one width."""

    what: ClassVar[str] = "fully connected layers"
    name: str = option("mlp", "which architecture (set by arch=NAME)")
    num_layers: int = option(4, "number of hidden layers", at_least=1, at_most=1000)

    minimum_width = 5

    @property
    def refused_inits(self) -> Mapping[str, str]:
        """The mean-field limit is that of one hidden layer."""
        reason = "it is defined for one hidden layer; give arch.num_layers=1, or choose arch.init=mup"
        return {} if self.num_layers == 1 else {"meanfield": reason}

    def count(self, width: int, image_shape: ImageShape) -> float:
        """d w + (layers - 1)(w + 1) w + w + 1, as in the paper; for c outputs (w + 1) c at the end."""
        hidden = prod(image_shape) * width + (self.num_layers - 1) * (width + 1) * width
        return hidden + (width + 1) * self.n_outputs

    def module(self, width: int, image_shape: ImageShape) -> nn.Sequential:
        """Flatten, hidden layers, linear."""
        sizes = [prod(image_shape)] + [width] * self.num_layers
        roles = [INPUT] + [HIDDEN] * (self.num_layers - 1)
        hidden = [
            layer
            for pair, role in zip(pairwise(sizes), roles, strict=True)
            for layer in (linear(*pair, self.init, role), nn.ReLU())
        ]
        return nn.Sequential(nn.Flatten(), *hidden, linear(width, self.n_outputs, self.init, OUTPUT))


def mlp(image_shape: ImageShape, budget: int = 100_000, **options: Any) -> Network:
    """A multilayer perceptron for images (c, h, w) within a parameter budget; options are the fields of `MLP`.

    Its `.width` is that of every hidden layer. Source: P. M. Long, arXiv 2105.10585, section 2.
    """
    return build(MLP, image_shape, budget=budget, **options)
