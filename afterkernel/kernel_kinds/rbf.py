"""The Gaussian (RBF) kernel on pixels: a baseline that knows nothing of the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel.kernel_kinds.kind import KernelKind

if TYPE_CHECKING:
    import torch
    from torch import nn

    from afterkernel.kernels import Embedding
    from afterkernel.types import Tensor


class RBF(KernelKind):
    """k(x, y) = exp(-|x - y|^2 / (2 s^2)), s the median distance between training images."""

    name = "rbf"
    label = "RBF"
    title = "Gaussian (RBF) kernel on pixels"
    start_label = "RBF kernel"
    definition = (
        "the Gaussian kernel on pixels, exp(-|x - y|^2 / (2 s^2)), s the median distance between training images (at "
        "most 1,000 of them, drawn with a fixed seed), the same for every snapshot"
    )
    order = 3
    is_learned = False

    def embedding(
        self, network: nn.Module, images: Tensor, dtype: torch.dtype | str, device: torch.device
    ) -> Embedding:
        """The pixels, and the bandwidth by the median rule. Raises UserError if all images are equal."""
        from afterkernel.kernels.pixels import GaussianFunction, PixelEmbedding, median_distance

        return PixelEmbedding(network, GaussianFunction(median_distance(images)), dtype, device)
