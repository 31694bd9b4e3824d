"""The linear kernel on pixels: a baseline that knows nothing of the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel.kernel_kinds.kind import KernelKind

if TYPE_CHECKING:
    import torch
    from torch import nn

    from afterkernel.kernels import Embedding
    from afterkernel.types import Tensor


class Linear(KernelKind):
    """k(x, y) = <x, y>."""

    name = "linear"
    label = "linear"
    title = "Linear kernel on pixels"
    start_label = "linear kernel"
    definition = "the linear kernel on pixels, <x, y>, the same for every snapshot"
    order = 2
    is_learned = False

    def embedding(
        self, network: nn.Module, images: Tensor, dtype: torch.dtype | str, device: torch.device
    ) -> Embedding:
        """The pixels."""
        from afterkernel.kernels.pixels import LinearFunction, PixelEmbedding

        return PixelEmbedding(network, LinearFunction(), dtype, device)
