"""Embeddings phi: what a kernel is the inner product of.

NTK / after kernel: phi(x) = d f(x) / d theta over all trainable parameters, f the output in evaluation mode
(arXiv 2105.10585, section 2). Conjugate kernel: phi(x) = the input of the last linear layer, or of another one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels.collect import GradientEmbedding
from afterkernel.kernels.features import FeatureEmbedding
from afterkernel.kernels.independence import IndependenceChecked
from afterkernel.kernels.output import Output
from afterkernel.kernels.plan import Choose, LayerPlan
from afterkernel.kernels.precision import Precision, precision
from afterkernel.kernels.protocols import BlockSource, Embedding
from afterkernel.kernels.samples import Batch, Forward, Samples
from afterkernel.kernels.terms import Block
from afterkernel.kernels.trained import Choice
from afterkernel.types import Float, Tensor

OF_NETWORKS = ("ntk", "conjugate")

__all__ = ["OF_NETWORKS", "BlockSource", "Embedding", "embedding"]


def embedding(
    model: nn.Module,
    kernel: str = "ntk",
    *,
    dtype: torch.dtype | str = torch.float32,
    device: str | torch.device = "cpu",
    output: int | str | None = None,
    layer: str | None = None,
    parameters: Choice | None = None,
    choose: Choose | None = None,
) -> Embedding:
    """The embedding of `kernel` ("ntk" or "conjugate") of a model, computed in `dtype` on `device`.

    `output` chooses the output whose gradient is taken and `parameters` those that it is taken in (see `ntk`), and
    `choose` plans how the layers are held, by default as Gram matrices need it; they belong to the NTK. `layer`, the
    layer whose input is used (see `conjugate_kernel`), belongs to the conjugate kernel, whose embedding has it as
    `layer`. The model itself is left as it is. Raises UserError for an unknown kernel, an option that belongs to the
    other kernel, a model without trainable parameters for the NTK, or a layer that is not a module of the model.
    """
    kind: Precision = precision(dtype)
    if kernel not in OF_NETWORKS:
        raise UserError(f"kernel={kernel!r} is not known: choose one of {', '.join(OF_NETWORKS)}.")
    if kernel == "ntk" and layer is not None:
        raise UserError(f"layer={layer!r} belongs to kernel='conjugate': kernel='ntk' is of all trained layers.")
    if kernel == "conjugate" and parameters is not None:
        raise UserError("parameters= belongs to kernel='ntk': the conjugate kernel is of a layer's input.")
    if kernel == "conjugate" and output is not None:
        raise UserError(f"output={output!r} belongs to kernel='ntk': the conjugate kernel is of a layer's input.")

    def make(dtype: torch.dtype) -> Embedding:
        if kernel == "ntk":
            return GradientEmbedding(model, dtype, torch.device(device), Output(output), parameters, choose)
        return FeatureEmbedding(model, dtype, torch.device(device), layer)

    return IndependenceChecked(make(kind.dtype), lambda: make(torch.float64))


class CalledByFunction(IndependenceChecked):
    """An embedding of a network whose samples x are given to `forward(model, x)`."""

    def __init__(self, phi: Embedding, forward: Forward) -> None:
        assert isinstance(phi, IndependenceChecked)
        super().__init__(phi.inner, phi.in_float64)
        self._forward = forward

    def plan_layers(self, x: Batch, *, paired: bool = False) -> Sequence[LayerPlan]:
        """The same of the samples."""
        return super().plan_layers(self._samples(x), paired=paired)

    def block(self, x: Batch, out: Block | None = None, rows: Sequence[int] | None = None) -> Block:
        """The same of the samples."""
        return super().block(self._samples(x), out, rows)

    def __call__(self, x: Batch) -> Float[Tensor, "n p"]:
        """The same of the samples."""
        return super().__call__(self._samples(x))

    def _samples(self, x: Batch) -> Batch:
        return x if isinstance(x, Samples) else Samples(x, self._forward)
