"""Options of the kernels."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from afterkernel.kernels.embedding import KERNELS
from afterkernel.kernels.gram import DEFAULT_BUDGET_BYTES
from afterkernel.options import option


@dataclass
class Kernel:
    """Which kernels are computed of every snapshot, and how."""

    names: list[str] = option(list(KERNELS), "kernels of each snapshot", choices=KERNELS)
    dtype: str = option("float32", "data type of gradients and products", choices=("float32", "float64"))
    budget_bytes: int = option(
        DEFAULT_BUDGET_BYTES, "bytes of embeddings held at once; the rest is streamed", at_least=1, decides=False
    )

    @property
    def torch_dtype(self) -> torch.dtype:
        """The data type as torch names it."""
        return torch.float64 if self.dtype == "float64" else torch.float32
