"""VGG: blocks of 3x3 convolutions, each followed by a max-pool; channels double per block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Any, ClassVar

from torch import nn

from afterkernel.errors import UserError
from afterkernel.models.architecture import Architecture, ImageShape, Network, build
from afterkernel.models.layers import HIDDEN, INPUT, OUTPUT, convolution, linear
from afterkernel.options import option


@dataclass
class VGG(Architecture):
    """`num_blocks` blocks of `num_layers / num_blocks` ReLU convolutions and a 2x2 max-pool, then a linear layer."""

    what: ClassVar[str] = "3x3 convolutions in blocks with max-pools"
    name: str = option("vgg", "which architecture (set by arch=NAME)")
    num_layers: int = option(4, "number of convolutions, a multiple of arch.num_blocks", at_least=1, at_most=1000)
    num_blocks: int = option(
        2, "number of blocks; each halves the image and the next has twice the channels", at_least=1, at_most=30
    )

    minimum_width = 4

    @property
    def refused_inits(self) -> Mapping[str, str]:
        """The mean-field limit is that of one hidden layer."""
        return {"meanfield": "it is defined for one hidden layer; choose arch.init=mup"}

    def check(self, image_shape: ImageShape) -> None:
        """Layers must divide into blocks, and the image must survive the pools."""
        if self.num_layers % self.num_blocks:
            raise UserError(
                f"arch.num_layers={self.num_layers} does not divide into arch.num_blocks={self.num_blocks} "
                "equal blocks: make it a multiple."
            )
        side = min(image_shape[1:])
        if side < 2**self.num_blocks:
            raise UserError(
                f"arch.num_blocks={self.num_blocks} is too many for images of side {side}: each block halves the "
                f"image, so the side must be at least {2**self.num_blocks}."
            )

    def _channels(self, width: int, image_shape: ImageShape) -> list[int]:
        per_block = self.num_layers // self.num_blocks
        return [image_shape[0]] + [width * 2**block for block in range(self.num_blocks) for _ in range(per_block)]

    def count(self, width: int, image_shape: ImageShape) -> float:
        """Convolutions count c_in c_out (k^2 + 1), the last layer (side / 2^blocks)^2 c_last + 1, as in the paper.

        The last layer counts once for each output.
        """
        channels = self._channels(width, image_shape)
        convolutions = sum(c_in * c_out * (3 * 3 + 1) for c_in, c_out in pairwise(channels))
        _, height, width_px = image_shape
        last = (height / 2**self.num_blocks) * (width_px / 2**self.num_blocks) * channels[-1] + 1
        return float(convolutions + last * self.n_outputs)

    def module(self, width: int, image_shape: ImageShape) -> nn.Sequential:
        """Convolutions, pools (odd sizes rounded up), flatten, linear."""
        channels = self._channels(width, image_shape)
        per_block = self.num_layers // self.num_blocks
        layers: list[nn.Module] = []
        for index, (c_in, c_out) in enumerate(pairwise(channels), start=1):
            layers += [convolution(c_in, c_out, self.init, INPUT if index == 1 else HIDDEN), nn.ReLU()]
            if index % per_block == 0:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
        features = channels[-1]
        for side in image_shape[1:]:
            for _ in range(self.num_blocks):
                side = ceil(side / 2)
            features *= side
        return nn.Sequential(*layers, nn.Flatten(), linear(features, self.n_outputs, self.init, OUTPUT))


def vgg(image_shape: ImageShape, budget: int = 100_000, **options: Any) -> Network:
    """A VGG network for images (c, h, w) within a parameter budget; options are the fields of `VGG`.

    Its `.width` is the number of channels of the first block. Raises UserError for options that make no network.
    Source: P. M. Long, arXiv 2105.10585, section 2.
    """
    return build(VGG, image_shape, budget=budget, **options)
