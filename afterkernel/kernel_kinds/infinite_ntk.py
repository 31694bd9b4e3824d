"""The NTK of an infinitely wide mlp, in closed form: what the network would be if training changed no kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel.kernel_kinds.kind import KernelInput, KernelKind

if TYPE_CHECKING:
    from torch import nn

    from afterkernel.kernels import Embedding


class InfiniteNTK(KernelKind):
    """The arc-cosine recursion of Jacot et al. (arXiv 1806.07572) for the depth of the network."""

    name = "infinite_ntk"
    label = "infinite NTK"
    title = "NTK of the infinitely wide network"
    definition = (
        "the neural tangent kernel of a network of the same depth and infinite width, in the NTK parameterisation "
        "(arch.init=ntk), only for fully connected ReLU networks; the same for every snapshot"
    )
    order = 4
    uses_output = False
    is_learned = False

    def check(self, network: nn.Module) -> None:
        """Raise UserError for a network that is not a chain of linear layers with ReLUs between them."""
        from afterkernel.kernels.infinite_width import read_layers

        read_layers(network)

    def embedding(self, given: KernelInput) -> Embedding:
        """The pixels, and the depth of the network."""
        from afterkernel.kernels.infinite_width import InfiniteWidthNTK, read_layers

        return given.of_pixels(InfiniteWidthNTK(read_layers(given.network)))
