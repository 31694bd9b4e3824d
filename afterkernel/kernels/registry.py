"""The functions of torch that are layers, and how a call of each is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from afterkernel.kernels.convolutions import Convolution, TransposedConvolution
from afterkernel.kernels.layers import BatchNorm, Call, GroupNorm, LayerNorm, Linear, Lookup, PReLU, RMSNorm
from afterkernel.types import Tensor


def _product(input: Tensor, other: Tensor) -> Linear | None:
    """`torch.matmul` and `torch.mm` with a weight (d, o) on the right."""
    if not isinstance(other, Tensor) or other.ndim != 2 or input.ndim < 2:
        return None
    return Linear(input, other.t())


def _addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Linear | None:
    """`torch.addmm` as a layer: a bias (o,) plus the product with a weight (d, o)."""
    if beta != 1 or alpha != 1 or input.ndim != 1 or input.shape[0] != mat2.shape[1]:
        return None
    return Linear(mat1, mat2.t(), input)


LAYERS: dict[Callable[..., Any], Callable[..., Call | None]] = {
    F.linear: Linear,
    torch.matmul: _product,
    torch.mm: _product,
    torch.Tensor.matmul: _product,
    torch.Tensor.mm: _product,
    torch.Tensor.__matmul__: _product,
    torch.addmm: _addmm,
    torch.Tensor.addmm: _addmm,
    torch.conv1d: Convolution,
    torch.conv2d: Convolution,
    torch.conv3d: Convolution,
    torch.conv_transpose1d: TransposedConvolution,
    torch.conv_transpose2d: TransposedConvolution,
    torch.conv_transpose3d: TransposedConvolution,
    F.embedding: Lookup,
    F.layer_norm: LayerNorm,
    F.rms_norm: RMSNorm,
    F.group_norm: GroupNorm,
    F.batch_norm: BatchNorm,
    F.prelu: PReLU,
}
