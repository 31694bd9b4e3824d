"""The linear kernel on pixels: a baseline that does not depend on the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel.kernel_kinds.kind import KernelInput, KernelKind

if TYPE_CHECKING:
    from afterkernel.kernels import Embedding


class Linear(KernelKind):
    """k(x, y) = <x, y>."""

    name = "linear"
    title = "Linear kernel on pixels"
    start_label = "linear kernel"
    definition = "the linear kernel on pixels, <x, y>, the same for every snapshot"
    order = 2
    uses_output = False
    is_learned = False

    def embedding(self, given: KernelInput) -> Embedding:
        """The pixels."""
        from afterkernel.kernels.pixels import LinearFunction

        return given.of_pixels(LinearFunction())
