"""The neural tangent kernel from random features: for networks or data sets that are too large for the exact one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from afterkernel.kernel_kinds.kind import KernelInput, KernelKind
from afterkernel.options import option

if TYPE_CHECKING:
    from afterkernel.kernels import Embedding


@dataclass
class SketchOptions:
    """Options of the sketched kernel, below `kernel.sketch`."""

    dim: int = option(4096, "random features per image of the kernel sketch", at_least=1, at_most=2**24)
    seed: int = option(0, "seed of the random map of the kernel sketch", at_least=0)


class Sketch(KernelKind):
    """Inner products of gradients that are shortened by a random map (`afterkernel.sketch`)."""

    name = "sketch"
    label = "NTK sketch"
    title = "Sketch of the NTK → after kernel"
    start_label = "NTK sketch (initialisation)"
    definition = (
        "an estimate of the NTK or after kernel from `kernel.sketch.dim` random features of the gradients; "
        "`approximation_error` is its estimated error, and no claim uses it"
    )
    order = 5

    def embedding(self, given: KernelInput) -> Embedding:
        """The gradients, shortened."""
        from afterkernel.kernels.precision import precision
        from afterkernel.kernels.sketch_embedding import SketchEmbedding

        options = given.sketch or SketchOptions()
        return SketchEmbedding(
            given.network,
            dim=options.dim,
            seed=options.seed,
            dtype=precision(given.dtype).dtype,
            device=given.device,
            output=given.output,
        )
