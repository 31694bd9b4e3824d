"""Embeddings phi: what a kernel is the inner product of.

NTK / after kernel: phi(x) = d f(x) / d theta over all trainable parameters, f the output in evaluation mode
(arXiv 2105.10585, section 2). Conjugate kernel: phi(x) = the input of the last linear layer, or of another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels.collect import GradientEmbedding
from afterkernel.kernels.features import FeatureEmbedding
from afterkernel.kernels.output import Output
from afterkernel.kernels.plan import LayerPlan
from afterkernel.kernels.precision import Precision, precision
from afterkernel.kernels.terms import Block
from afterkernel.types import Float, Tensor

KERNELS = ("ntk", "conjugate")


@runtime_checkable
class BlockSource(Protocol):
    """A map from samples (n, ...) to their embeddings, held layer by layer."""

    def block(self, x: Tensor, out: Block | None = None) -> Block:
        """The embeddings of samples x, written to `out` if given."""
        ...


@runtime_checkable
class Embedding(BlockSource, Protocol):
    """A network's embedding: what Gram matrices are planned and computed with, in `dtype` on `device`."""

    model: nn.Module
    dtype: torch.dtype
    device: torch.device

    @property
    def outputs(self) -> int:
        """Rows of the Gram matrix a sample."""
        ...

    @property
    def identity(self) -> Mapping[str, object]:
        """What, beside weights and samples, the embedding depends on."""
        ...

    @property
    def work_bytes(self) -> int:
        """What computing a batch takes beside the embeddings."""
        ...

    @property
    def samples_at_once(self) -> int:
        """Samples that are embedded in one batch; more are cut into such batches."""
        ...

    def plan_layers(self, x: Tensor, *, paired: bool = False) -> Sequence[LayerPlan]:
        """Look at a few samples, and choose how each layer is held; `paired` as samples meet all others, or one."""
        ...

    def __call__(self, x: Tensor) -> Float[Tensor, "n p"]:
        """The embeddings written out as rows, in an order of the engine's own."""
        ...


def embedding(
    model: nn.Module,
    kernel: str = "ntk",
    *,
    dtype: torch.dtype | str = torch.float32,
    device: str | torch.device = "cpu",
    output: int | str | None = None,
    layer: str | None = None,
) -> Embedding:
    """The embedding of `kernel` ("ntk" or "conjugate") of a model, computed in `dtype` on `device`.

    `output` chooses the output whose gradient is taken (see `ntk`), and belongs to the NTK; `layer` the layer whose
    input is used (see `conjugate_kernel`), and belongs to the conjugate kernel, whose embedding has it as `layer`. The
    model itself is left as it is. Raises UserError for an unknown kernel, an option that belongs to the other kernel, a
    model without trainable parameters for the NTK, or a layer that is no module of the model.
    """
    kind: Precision = precision(dtype)
    if kernel not in KERNELS:
        raise UserError(f"kernel={kernel!r} is not known: choose one of {', '.join(KERNELS)}.")
    if kernel == "ntk":
        if layer is not None:
            raise UserError(f"layer={layer!r} belongs to kernel='conjugate': kernel='ntk' is of all trained layers.")
        return GradientEmbedding(model, kind.dtype, torch.device(device), Output(output))
    if output is not None:
        raise UserError(f"output={output!r} belongs to kernel='ntk': the conjugate kernel is of a layer's input.")
    return FeatureEmbedding(model, kind.dtype, torch.device(device), layer)
