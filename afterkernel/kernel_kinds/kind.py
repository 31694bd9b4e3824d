"""What every kernel declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import torch
    from torch import nn

    from afterkernel.kernels import Embedding
    from afterkernel.types import Tensor


class KernelKind:
    """A kernel that is computed of every snapshot; one subclass per file of this package.

    `name` is its name in options, records and W&B; `label` that in tables, `title` that of figures, `start_label` the
    label of its value at initialisation, and `definition` one sentence. Kernels are shown by `order`.
    """

    name: ClassVar[str] = ""
    label: ClassVar[str] = ""
    title: ClassVar[str] = ""
    start_label: ClassVar[str] = ""
    definition: ClassVar[str] = ""
    order: ClassVar[int] = 100
    # Whether a run computes it by default.
    by_default: ClassVar[bool] = False
    # Whether it changes as the network is trained; baselines of the images or the architecture alone don't.
    is_learned: ClassVar[bool] = True
    # Whether it is a sum over layers, so that each layer can be measured by itself.
    has_layers: ClassVar[bool] = False

    def check(self, network: nn.Module) -> None:
        """Raise UserError if the kernel does not exist for this network, whose weights may lie on the meta device."""

    def embedding(
        self, network: nn.Module, images: Tensor, dtype: torch.dtype | str, device: torch.device
    ) -> Embedding:
        """What Gram matrices and measures are computed from; `images` are the training images (n, c, h, w)."""
        raise TypeError(f"{type(self).__name__} does not say how it is computed")
