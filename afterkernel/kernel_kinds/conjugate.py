"""The conjugate kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel.kernel_kinds.kind import KernelKind

if TYPE_CHECKING:
    import torch
    from torch import nn

    from afterkernel.kernels import Embedding
    from afterkernel.types import Tensor


class Conjugate(KernelKind):
    """Inner products of the inputs of the last linear layer (arXiv 2105.10585, section 2)."""

    name = "conjugate"
    label = "CK"
    title = "Conjugate kernel (CK)"
    start_label = "CK at initialisation"
    definition = "the conjugate kernel (CK): inner products of the outputs of the last hidden layer"
    order = 1
    by_default = True

    def embedding(
        self, network: nn.Module, images: Tensor, dtype: torch.dtype | str, device: torch.device
    ) -> Embedding:
        """The input of the last linear layer."""
        from afterkernel.kernels import embedding

        return embedding(network, "conjugate", dtype=dtype, device=device)
