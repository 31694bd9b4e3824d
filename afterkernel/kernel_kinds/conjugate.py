"""The conjugate kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afterkernel.kernel_kinds.kind import KernelInput, KernelKind

if TYPE_CHECKING:
    from afterkernel.kernels import Embedding


class Conjugate(KernelKind):
    """Inner products of the inputs of the last linear layer (arXiv 2105.10585, section 2)."""

    name = "conjugate"
    label = "CK"
    title = "Conjugate kernel (CK)"
    definition = "the conjugate kernel (CK): inner products of the outputs of the last hidden layer"
    order = 1
    uses_output = False
    by_default = True

    def embedding(self, given: KernelInput) -> Embedding:
        """The input of the last linear layer."""
        return given.of_network("conjugate")
