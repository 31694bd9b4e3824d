"""Gradients that are not finite, and those whose products are not, stop the run; layer and sample are named."""

from __future__ import annotations

import math

import torch

from afterkernel.errors import NotFiniteError, UserError
from afterkernel.kernels.terms import Block
from afterkernel.types import Bool, Float, Tensor

# A layer whose squared length is a smaller share of the sample's may get lost in it.
NEGLIGIBLE_SHARE = 1e-8


class FiniteCheck:
    """Tests blocks as they are collected; on a GPU the results are read together, so that no tile waits for them.

    A product underflows or overflows where the squared length of a factor does. With `per_layer` this counts for
    each layer by itself, else for those that matter in a sample's sum over layers. `products` is the type of the
    products where it is not that of the gradients.
    """

    def __init__(self, device: torch.device, *, per_layer: bool = False, products: torch.dtype | None = None) -> None:
        self._at_once = device.type != "cuda"
        self._per_layer, self._products = per_layer, products
        self._pending: list[tuple[dict[str, Bool[Tensor, "layers n"]], list[str], torch.dtype, int, str]] = []

    def add(self, block: Block, start: int, what: str) -> None:
        """Test a block whose first sample is number `start` of the `what` samples."""
        names = [name for name, terms in block.layers.items() for _ in terms]
        terms = [term for of_layer in block.layers.values() for term in of_layer]
        magnitudes = [term.magnitudes() for term in terms]
        dtype = terms[0].dtype
        own, limits = torch.finfo(dtype), torch.finfo(self._products or dtype)
        squares = [2 * torch.log(part) for part in magnitudes]  # logarithms, because float64 has its limits too
        finite = torch.stack([torch.isfinite(part).all(dim=0) for part in magnitudes])
        # The smallest normal number, with room for the digits of what is added to it.
        small = max(math.log(limits.tiny / limits.eps), 2 * math.log(own.tiny / own.eps))
        under = torch.stack([((part < small) & (part > -math.inf)).any(dim=0) for part in squares])
        lengths: Float[Tensor, "layers n"] = torch.stack([part.sum(dim=0) for part in squares])
        largest = math.log(limits.max)
        over = torch.stack([(part > largest).any(dim=0) | (part.sum(dim=0) > largest) for part in squares])
        if not self._per_layer:
            under &= lengths >= lengths.amax(dim=0) + math.log(NEGLIGIBLE_SHARE)
        # A sample whose factors are zero in one tensor has a gradient of zero.
        under &= lengths > -math.inf
        self._pending.append(({"finite": ~finite, "under": under, "over": over & finite}, names, dtype, start, what))
        if self._at_once:
            self.settle()

    def settle(self) -> None:
        """Raise UserError for the first sample whose gradient, or product with itself, is not a normal number."""
        pending, self._pending = self._pending, []
        for found, names, dtype, start, what in pending:
            for kind, flags in found.items():
                if bool(flags.any()):
                    sample, layer = (int(i) for i in torch.nonzero(flags.T)[0])
                    error = NotFiniteError if kind == "finite" else UserError
                    raise error(_sentence(kind, f"{what} sample {start + sample}", names[layer], dtype))


def _sentence(kind: str, sample: str, layer: str, dtype: torch.dtype) -> str:
    if kind == "finite":
        return (
            f"the embedding of {sample} is not finite in layer {layer}: the network has diverged, or "
            "its input is not finite; train with a smaller learning rate."
        )
    size, happens = ("small", "underflow") if kind == "under" else ("large", "overflow")
    cure = "choose dtype=float64, or scale the model's output" if dtype != torch.float64 else "scale the model's output"
    return (
        f"the embedding of {sample} is so {size} in layer {layer} that its products {happens} in "
        f"{str(dtype).removeprefix('torch.')}: {cure}."
    )
