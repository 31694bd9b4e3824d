"""Options of the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from afterkernel.data.problem import Problem
from afterkernel.kernel_kinds import KINDS, KernelInput
from afterkernel.kernel_kinds.sketch import Sketch, SketchOptions
from afterkernel.kernels.plan import DEFAULT_BUDGET_BYTES
from afterkernel.kernels.precision import PRECISIONS, Precision
from afterkernel.options import option

if TYPE_CHECKING:
    import torch
    from torch import nn


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
    sketch: SketchOptions = option(SketchOptions, "the kernel sketch")

    @property
    def inactive(self) -> frozenset[str]:
        """Options without effect."""
        return frozenset() if Sketch.name in self.names else frozenset({"sketch"})

    def input_of(self, network: nn.Module, problem: Problem, device: torch.device) -> KernelInput:
        """What a kernel of a network is computed from."""
        return KernelInput(network, problem.x_train, self.dtype, device, sketch=self.sketch)

    @property
    def precision(self) -> Precision:
        """How gradients are collected, held and multiplied."""
        return PRECISIONS[self.dtype]

    @property
    def member_classes(self) -> list[type]:
        """The classes that compute these kernels."""
        return [type(KINDS[name]) for name in self.names if name in KINDS]
