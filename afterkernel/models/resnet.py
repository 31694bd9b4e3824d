"""ResNet: residual blocks of 3x3 convolutions, each followed by BatchNorm; channels double per stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from torch import nn

from afterkernel.errors import UserError
from afterkernel.models.architecture import Architecture, ImageShape, Network, build
from afterkernel.models.layers import HIDDEN, INPUT, OUTPUT, convolution, linear
from afterkernel.options import option
from afterkernel.types import Float, Tensor

# Blocks of each of the four stages, by the number of layers: the first convolution, two in each block, and the last,
# linear, layer.
BLOCKS = {10: (1, 1, 1, 1), 12: (2, 1, 1, 1), 14: (2, 2, 1, 1), 16: (2, 2, 2, 1), 18: (2, 2, 2, 2)}
DEPTHS = (9, *BLOCKS)
SMALLEST_SIDE = 8


class Residual(nn.Module):
    """relu(inner(x) + shortcut(x)) or, without `relu`, inner(x) + shortcut(x)."""

    def __init__(self, inner: nn.Module, shortcut: nn.Module, *, relu: bool) -> None:
        super().__init__()
        self.inner, self.shortcut = inner, shortcut
        self.last = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d k l"]:
        """Sum of both branches."""
        outputs: Tensor = self.last(self.inner(x) + self.shortcut(x))
        return outputs


@dataclass
class ResNet(Architecture):
    """A residual network with BatchNorm for small images: a first convolution of 3x3, four stages, a linear layer.

    10, 12, 14, 16 or 18 layers: the basic blocks of He et al. (arXiv 1512.03385), with a first convolution of stride 1
    and no first pool, as is usual for images of 32x32 pixels. 9 layers: the ResNet-9 of D. Page, "How to train your
    ResNet" (2018). Shortcuts of 1x1 convolutions are not counted.
    """

    what: ClassVar[str] = "a residual network with batch normalisation"
    name: str = option("resnet", "which architecture (set by arch=NAME)")
    num_layers: int = option(18, "number of layers: 9 (ResNet-9), 10, 12, 14, 16 or 18", at_least=9, at_most=18)

    @property
    def refused_inits(self) -> Mapping[str, str]:
        """Parameterisations that BatchNorm does not follow."""
        reason = "the scales and shifts of BatchNorm would need factors of their own; choose arch=vgg or arch=mlp"
        return {"mup": reason, "meanfield": reason}

    def check(self, image_shape: ImageShape) -> None:
        """There is a network of this depth, and the image survives being halved three times."""
        if self.num_layers not in DEPTHS:
            raise UserError(
                f"arch.num_layers={self.num_layers} is not a depth of resnet: choose one of "
                f"{', '.join(map(str, DEPTHS))}."
            )
        if min(image_shape[1:]) < SMALLEST_SIDE:
            raise UserError(
                f"arch=resnet halves images three times, so that images of {image_shape[1]}x{image_shape[2]} are too "
                f"small: their sides must be at least {SMALLEST_SIDE}."
            )

    def module(self, width: int, image_shape: ImageShape) -> nn.Sequential:
        """Convolutions with BatchNorm, a global pool, and a linear layer."""
        channels = image_shape[0]
        layers = self._page(channels, width) if self.num_layers == 9 else self._basic_blocks(channels, width)
        return nn.Sequential(*layers, nn.Flatten(), linear(8 * width, self.n_outputs, self.init, OUTPUT))

    def _basic_blocks(self, channels: int, width: int) -> list[nn.Module]:
        layers = self._unit(channels, width, role=INPUT)
        before = width
        for stage, blocks in enumerate(BLOCKS[self.num_layers]):
            for block in range(blocks):
                after, stride = width * 2**stage, 2 if stage and not block else 1
                layers.append(self._block(before, after, stride))
                before = after
        return [*layers, nn.AdaptiveAvgPool2d(1)]

    def _block(self, before: int, after: int, stride: int) -> Residual:
        inner = self._unit(before, after, stride=stride) + self._unit(after, after)[:-1]
        shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            one = convolution(before, after, self.init, side=1, stride=stride, bias=False)
            shortcut = nn.Sequential(one, nn.BatchNorm2d(after))
        return Residual(nn.Sequential(*inner), shortcut, relu=True)

    def _page(self, channels: int, width: int) -> list[nn.Module]:
        """ResNet-9; the residual blocks are after the second and the fourth of its convolutions in the chain."""
        layers: list[nn.Module] = self._unit(channels, width, role=INPUT)
        for before, after in pairwise(width * 2**stage for stage in range(4)):
            layers += [*self._unit(before, after), nn.MaxPool2d(2, ceil_mode=True)]
            if after != 4 * width:
                inner = nn.Sequential(*self._unit(after, after), *self._unit(after, after))
                layers.append(Residual(inner, nn.Identity(), relu=False))
        return [*layers, nn.AdaptiveMaxPool2d(1)]

    def _unit(self, before: int, after: int, *, stride: int = 1, role: str = HIDDEN) -> list[nn.Module]:
        """Convolution, whose bias would be without effect, BatchNorm, ReLU."""
        return [
            convolution(before, after, self.init, role, stride=stride, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]


def resnet(image_shape: ImageShape, budget: int = 100_000, **options: Any) -> Network:
    """A residual network for images (c, h, w) within a parameter budget; options are the fields of `ResNet`.

    Its `.width` is the number of channels of the first stage. Raises UserError for options that make no network.
    """
    return build(ResNet, image_shape, budget=budget, **options)
