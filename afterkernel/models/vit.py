"""ViT: a small vision transformer on patches of the image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import nn

from afterkernel.errors import UserError
from afterkernel.models.architecture import Architecture, ImageShape, Network, build
from afterkernel.models.layers import OUTPUT, linear
from afterkernel.options import option
from afterkernel.types import Float, Tensor

MLP_RATIO = 4


class SelfAttention(nn.Module):
    """Multi-head self-attention of tokens (n, t, d), from linear layers, whose kernels are cheap."""

    def __init__(self, width: int, heads: int, init: str) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = linear(width, 3 * width, init)
        self.out = linear(width, width, init)

    def forward(self, tokens: Float[Tensor, "n t d"]) -> Float[Tensor, "n t d"]:
        """Softmax of <q, k> / sqrt(d / heads), applied to v, for each head; then the output projection."""
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return mixed


class Block(nn.Module):
    """A pre-norm transformer block: self-attention and an MLP, each normalised before and added to its input."""

    def __init__(self, width: int, heads: int, init: str) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), SelfAttention(width, heads, init)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            linear(width, MLP_RATIO * width, init), nn.GELU(), linear(MLP_RATIO * width, width, init)
        )

    def forward(self, tokens: Float[Tensor, "n t d"]) -> Float[Tensor, "n t d"]:
        """Tokens to tokens."""
        tokens = tokens + self.attention(self.norm1(tokens))
        outputs: Tensor = tokens + self.mlp(self.norm2(tokens))
        return outputs


class Patches(nn.Module):
    """Images (n, c, h, w) to tokens (n, t, d): a linear map of each patch, plus a fixed code of its position."""

    positions: Tensor

    def __init__(self, channels: int, width: int, patch: int, grid: tuple[int, int], init: str) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        if init != "pytorch":
            nn.init.xavier_uniform_(self.embed.weight.flatten(1))
            nn.init.zeros_(cast(Tensor, self.embed.bias))
        self.register_buffer("positions", position_code(grid, width), persistent=False)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n t d"]:
        """Tokens, row by row."""
        tokens: Tensor = self.embed(images).flatten(2).transpose(1, 2)
        return tokens + self.positions


class MeanOfTokens(nn.Module):
    """(n, t, d) to (n, d)."""

    def forward(self, tokens: Float[Tensor, "n t d"]) -> Float[Tensor, "n d"]:
        """Mean over the tokens."""
        return tokens.mean(dim=1)


def position_code(grid: tuple[int, int], width: int) -> Float[Tensor, "t d"]:
    """Sines and cosines of the row and of the column of each patch, a quarter of the width each, zero-padded.

    As in Beyer et al., "Better plain ViT baselines for ImageNet-1k" (arXiv 2205.01580).
    """
    quarter = width // 4
    rates = 10_000.0 ** -(torch.arange(quarter) / max(quarter - 1, 1))
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")
    phases = [place.flatten()[:, None] * rates for place in (rows, columns)]
    code = torch.cat([part for phase in phases for part in (phase.sin(), phase.cos())], dim=1)
    return F.pad(code, (0, width - 4 * quarter))


@dataclass
class ViT(Architecture):
    """A vision transformer (arXiv 2010.11929) with pre-norm blocks, fixed position codes and a mean over tokens.

    The last two as in Beyer et al. (arXiv 2205.01580). Its width is the number of features of a token, a multiple of
    `heads`; the MLP of a block has four times as many. There is no dropout.
    """

    what: ClassVar[str] = "a small vision transformer"
    name: str = option("vit", "which architecture (set by arch=NAME)")
    patch_size: int = option(4, "side of a patch in pixels; it divides the sides of the images", at_least=1)
    depth: int = option(4, "number of transformer blocks", at_least=1, at_most=1000)
    heads: int = option(4, "number of attention heads", at_least=1, at_most=1024)

    def __post_init__(self) -> None:
        self.minimum_width = self.heads

    @property
    def refused_inits(self) -> Mapping[str, str]:
        """Parameterisations that attention and LayerNorm do not follow."""
        reason = "attention and LayerNorm would need factors of their own; choose glorot or pytorch, or arch=mlp"
        return {"ntk": reason, "mup": reason, "meanfield": reason}

    def check(self, image_shape: ImageShape) -> None:
        """Patches must tile the image, and heads the width."""
        _, height, width_px = image_shape
        if height % self.patch_size or width_px % self.patch_size:
            common = math.gcd(height, width_px)
            fitting = ", ".join(str(side) for side in range(1, common + 1) if common % side == 0)
            raise UserError(
                f"arch.patch_size={self.patch_size} does not divide images of {height}x{width_px} pixels into patches: "
                f"choose one of {fitting}."
            )
        if self.width is not None and self.width % self.heads:
            raise UserError(
                f"arch.width={self.width} is not a multiple of arch.heads={self.heads}: each head takes an equal part."
            )

    def choose_width(self, image_shape: ImageShape) -> int:
        """The smallest multiple of `heads` that reaches the budget."""
        return self._whole_heads(super().choose_width(image_shape))

    def _whole_heads(self, width: int) -> int:
        return math.ceil(width / self.heads) * self.heads

    def module(self, width: int, image_shape: ImageShape) -> nn.Sequential:
        """Patches, blocks, LayerNorm, mean over tokens, linear; the width is rounded up to whole heads."""
        width = self._whole_heads(width)
        channels, height, width_px = image_shape
        grid = height // self.patch_size, width_px // self.patch_size
        patches = Patches(channels, width, self.patch_size, grid, self.init)
        blocks = [Block(width, self.heads, self.init) for _ in range(self.depth)]
        return nn.Sequential(
            patches, *blocks, nn.LayerNorm(width), MeanOfTokens(), linear(width, self.n_outputs, self.init, OUTPUT)
        )


def vit(image_shape: ImageShape, budget: int = 100_000, **options: Any) -> Network:
    """A small vision transformer for images (c, h, w) within a parameter budget; options are the fields of `ViT`.

    Its `.width` is the number of features of a token. Raises UserError for options that make no network.
    """
    return build(ViT, image_shape, budget=budget, **options)
