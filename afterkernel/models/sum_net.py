"""Sum: the sum of all pixels, one hidden layer, linear (the paper's toy)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from afterkernel.models.architecture import Architecture, ImageShape, Network, build
from afterkernel.models.layers import INPUT, OUTPUT, linear
from afterkernel.options import option
from afterkernel.types import Float, Tensor


class PixelSum(nn.Module):
    """The sum of all pixels of an image: (n, c, h, w) to (n, 1)."""

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1"]:
        """One number an image."""
        return images.flatten(1).sum(dim=1, keepdim=True)


@dataclass
class Sum(Architecture):
    """One hidden ReLU layer on the sum of all pixels."""

    what: ClassVar[str] = "one hidden layer on the sum of all pixels"
    name: str = option("sum", "which architecture (set by arch=NAME)")

    @property
    def refused_inits(self) -> Mapping[str, str]:
        """The mean-field limit is that of one hidden layer."""
        return {}

    def module(self, width: int, image_shape: ImageShape) -> nn.Sequential:
        """Sum, hidden layer, linear."""
        return nn.Sequential(
            PixelSum(),
            linear(1, width, self.init, INPUT),
            nn.ReLU(),
            linear(width, self.n_outputs, self.init, OUTPUT),
        )


def sum_net(image_shape: ImageShape, budget: int = 100_000, **options: Any) -> Network:
    """The toy network on the sum of all pixels; options are the fields of `Sum`.

    Its `.width` is that of the hidden layer. Source: P. M. Long, arXiv 2105.10585, section 2.
    """
    return build(Sum, image_shape, budget=budget, **options)
