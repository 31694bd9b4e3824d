"""Options of the kernels."""

from __future__ import annotations

from dataclasses import dataclass

from afterkernel.kernel_kinds import KINDS
from afterkernel.kernels.plan import DEFAULT_BUDGET_BYTES
from afterkernel.kernels.precision import PRECISIONS, Precision
from afterkernel.options import option


@dataclass
class Kernel:
    """Which kernels are computed of every snapshot, and how."""

    names: list[str] = option(
        lambda: [name for name, kind in KINDS.items() if kind.by_default],
        "kernels of each snapshot",
        choices=KINDS,
        unordered=True,
    )
    dtype: str = option(
        "float32",
        "precision of gradients and products; tf32 and bf16 multiply float32 gradients in less "
        "precision and measure the error",
        choices=tuple(PRECISIONS),
    )
    budget_bytes: int = option(
        DEFAULT_BUDGET_BYTES,
        "maximum bytes in use at once, excluding the result; the rest is streamed",
        at_least=1,
        at_most=2**53,
        affects_results=False,
    )
    resumable: bool = option(
        True,
        "keep the tiles of a long Gram matrix in the run's folder until its record is written, so "
        "that a killed run can continue",
        affects_results=False,
    )

    @property
    def precision(self) -> Precision:
        """How gradients are collected, held and multiplied."""
        return PRECISIONS[self.dtype]

    @property
    def member_classes(self) -> list[type]:
        """The classes that compute these kernels."""
        return [type(KINDS[name]) for name in self.names if name in KINDS]
