"""Options of the kernels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from afterkernel.data.problem import Problem
from afterkernel.errors import UserError
from afterkernel.kernel_kinds import KINDS, KernelInput
from afterkernel.kernel_kinds.sketch import Sketch, SketchOptions
from afterkernel.kernels.plan import DEFAULT_BUDGET_BYTES
from afterkernel.kernels.precision import PRECISIONS, Precision
from afterkernel.options import option

if TYPE_CHECKING:
    import torch
    from torch import nn

TRACE, SUM = "trace", "sum"


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
        "precision of gradients and products; tf32 and bf16 multiply float32 gradients in less precision, tf32x3 by "
        "three products of TF32 numbers, which keep their digits; the error is measured",
        choices=tuple(PRECISIONS),
    )
    output: str = option(
        TRACE,
        "with several classes, of which outputs the kernel is: trace (the sum over outputs of the kernel of each), sum "
        "(the kernel of the sum of outputs), or the number of one output, from 0",
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
        """Options without effect: the trace, which of one output is its kernel, any output no kernel is of, and those
        of kernels that are not computed.
        """
        uses_output = any(KINDS[name].uses_output for name in self.names if name in KINDS)
        without = set() if uses_output and self.output != TRACE else {"output"}
        return frozenset(without if Sketch.name in self.names else without | {"sketch"})

    def check_output(self, n_outputs: int) -> None:
        """Raise UserError unless networks with `n_outputs` outputs have the chosen one."""
        given = f"kernel.output={self.output}"
        if self.output not in (TRACE, SUM) and not re.fullmatch("0|[1-9][0-9]{0,8}", self.output):
            raise UserError(f"{given} is not known: give {TRACE}, {SUM}, or the number of an output, such as 0.")
        if n_outputs == 1 and self.output != TRACE:
            raise UserError(
                f"{given} has no effect with two classes, whose network has one output: leave it out, or give several "
                "classes as dataset.classes."
            )
        if self.output.isdecimal() and int(self.output) >= n_outputs:
            raise UserError(
                f"{given} does not exist: with {n_outputs} classes outputs are numbered from 0 to {n_outputs - 1}."
            )

    def output_of(self, kernel: str, problem: Problem) -> int | str | None:
        """The output of a network that a kernel is of; None for the only one, and for kernels that use no output."""
        if problem.n_outputs == 1 or not KINDS[kernel].uses_output:
            return None
        return int(self.output) if self.output.isdecimal() else self.output

    def input_of(self, kernel: str, network: nn.Module, problem: Problem, device: torch.device) -> KernelInput:
        """What a kernel of a network is computed from."""
        return KernelInput(network, problem.x_train, self.dtype, device, self.output_of(kernel, problem), self.sketch)

    @property
    def precision(self) -> Precision:
        """How gradients are collected, held and multiplied."""
        return PRECISIONS[self.dtype]

    @property
    def member_classes(self) -> list[type]:
        """The classes that compute these kernels."""
        return [type(KINDS[name]) for name in self.names if name in KINDS]
