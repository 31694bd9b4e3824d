"""Which output of a network its kernel belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from afterkernel.errors import UserError
from afterkernel.types import Float, Tensor


@dataclass(frozen=True)
class Output:
    """The outputs that a kernel is taken of.

    which: None for the one output of a scalar network; a number for only that logit; "trace" for the sum over logits
    of their kernels, sum_k <d f_k(x), d f_k(y)>; "sum" for the kernel of the sum of logits; "full" for every pair.
    """

    which: int | str | None = None

    def __post_init__(self) -> None:
        which: Any = self.which
        if type(which) is not bool and isinstance(which, Integral):  # also of numpy
            object.__setattr__(self, "which", int(which))
        if isinstance(self.which, bool) or not isinstance(self.which, (int, str, type(None))):
            raise UserError(
                f'output={self.which!r} is not known: give the number of a logit, "trace", "sum" or "full".'
            )
        if isinstance(self.which, str) and self.which not in ("trace", "sum", "full"):
            raise UserError(
                f'output={self.which!r} is not known: give the number of a logit, "trace", "sum" or "full".'
            )

    def select(self, output: Any, samples: int | None = None) -> Float[Tensor, "n k"]:
        """The columns of a network's output that gradients are taken of. Raises UserError if there are none."""
        if not isinstance(output, Tensor):
            kind = type(output).__name__
            cure = (
                "wrap it so that its forward returns only the tensor"
                if isinstance(output, (tuple, list, Mapping))
                else "its forward must return the tensor of its outputs"
            )
            raise UserError(f"the model gives a {kind}, not a tensor, so it is unclear what its kernel is: {cure}.")
        if output.ndim == 0 or (samples is not None and len(output) != samples):
            raise UserError(
                f"the model's output has shape {tuple(output.shape)} for {samples} samples: "
                "its first dimension must be the sample."
            )
        if not output.is_floating_point():
            raise UserError(f"the model's output is of {output.dtype}, which has no gradient: give its logits instead.")
        columns = output.flatten(1) if output.ndim > 1 else output.unsqueeze(1)
        count = columns.shape[1]
        if count == 0:
            raise UserError(f"the model's output has shape {tuple(output.shape)}: it holds no output for a sample.")
        if self.which is None:
            if count != 1:
                raise UserError(
                    f"the model gives {count} outputs per sample, of shape {tuple(output.shape[1:])}: choose one by "
                    'output=0 and so on, their sum by output="trace", or every pair by output="full".'
                )
            return columns
        if self.which == "sum":
            return columns.sum(dim=1, keepdim=True)
        if isinstance(self.which, str):
            return columns
        if not -count <= self.which < count:
            raise UserError(f"output={self.which} does not exist: the model gives {count} outputs per sample.")
        index = self.which % count
        return columns[:, index : index + 1]
