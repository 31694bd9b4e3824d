"""The neural tangent kernel; of a trained network, the after kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel.kernel_kinds.kind import KernelInput, KernelKind

if TYPE_CHECKING:
    from afterkernel.kernels import Embedding


class NTK(KernelKind):
    """Inner products of gradients with respect to the parameters (arXiv 2105.10585, section 2)."""

    name = "ntk"
    label = "NTK / AK"
    title = "Neural tangent kernel (NTK) → after kernel (AK)"
    start_label = "NTK (initialisation)"
    definition = (
        "the kernel of the gradients with respect to all parameters: the neural tangent kernel (NTK) at epoch 0, the "
        "after kernel (AK) later"
    )
    order = 0
    by_default = True
    has_layers = True

    def embedding(self, given: KernelInput) -> Embedding:
        """Gradients, collected layer by layer."""
        return given.of_network("ntk")
