"""The base class of kernels of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import torch
    from torch import nn

    from afterkernel.kernel_kinds.sketch import SketchOptions
    from afterkernel.kernels import Embedding
    from afterkernel.kernels.pixels import KernelFunction
    from afterkernel.types import Tensor


@dataclass(frozen=True)
class KernelInput:
    """What a kernel is computed from: a network, the training images (n, c, h, w), and in which precision and where.

    `output` says of which of several outputs, as for `afterkernel.ntk`; None where the network has one. `sketch` are
    the options of the kernel of that name; the defaults where None.
    """

    network: nn.Module
    images: Tensor
    dtype: torch.dtype | str
    device: torch.device
    output: int | str | None = None
    sketch: SketchOptions | None = None

    def of_network(self, kernel: str) -> Embedding:
        """The embedding "ntk" (gradients) or "conjugate" (input of the last linear layer) of the network."""
        from afterkernel.kernels import embedding

        output = self.output if kernel == "ntk" else None
        return embedding(self.network, kernel, dtype=self.dtype, device=self.device, output=output)

    def of_pixels(self, function: KernelFunction) -> Embedding:
        """A kernel that is a function of only the pixels."""
        from afterkernel.kernels.pixels import PixelEmbedding

        return PixelEmbedding(self.network, function, self.dtype, self.device)


class KernelKind:
    """A kernel that is computed of every snapshot; one subclass per file of this package.

    A subclass declares `name` (in options, records and W&B), `title` (of figures), `definition` (one sentence) and
    `embedding`. `label` is the name in tables, by default `name`, and `start_label` the label of its value at
    initialisation. Kernels are shown by `order`.

    `embedding` returns all that Gram matrices and measures are computed from, so that the invariances are always those
    of the same kernel. It may be the embedding of a network or a function of pixels (see `KernelInput`), or a function
    of another kernel (`afterkernel.kernels.derived.DerivedEmbedding`), such as a centred NTK.
    """

    name: ClassVar[str] = ""
    label: ClassVar[str] = ""
    title: ClassVar[str] = ""
    start_label: ClassVar[str] = ""
    definition: ClassVar[str] = ""
    order: ClassVar[int] = 100
    # Whether a run computes it by default.
    by_default: ClassVar[bool] = False
    # Whether it changes as the network is trained; baselines that use only the images or the architecture don't.
    is_learned: ClassVar[bool] = True
    # Whether it is a sum over layers, so that each layer can be measured by itself.
    has_layers: ClassVar[bool] = False
    # Whether it depends on which of a network's outputs it is of (`kernel.output`).
    uses_output: ClassVar[bool] = True

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        cls.label = cls.label or cls.name
        cls.title = cls.title or cls.label
        cls.start_label = cls.start_label or (f"{cls.label} at initialisation" if cls.is_learned else cls.label)

    def check(self, network: nn.Module) -> None:
        """Raise UserError if the kernel does not exist for this network, whose weights may lie on the meta device."""

    def embedding(self, given: KernelInput) -> Embedding:
        """What Gram matrices and measures are computed from."""
        raise TypeError(f"{type(self).__name__} does not define embedding")
