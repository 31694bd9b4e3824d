"""The Gaussian (RBF) kernel on pixels: a baseline that does not depend on the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel.kernel_kinds.kind import KernelInput, KernelKind

if TYPE_CHECKING:
    from afterkernel.kernels import Embedding


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
    uses_output = False
    is_learned = False

    def embedding(self, given: KernelInput) -> Embedding:
        """The pixels, and the bandwidth by the median rule. Raises UserError if all images are equal."""
        from afterkernel.kernels.pixels import GaussianFunction, median_distance

        return given.of_pixels(GaussianFunction(median_distance(given.images)))
