"""Which output of a network its kernel belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from afterkernel.errors import UserError
from afterkernel.types import Float, Tensor

NAMED = ("trace", "sum", "full", "diagonal")


@dataclass(frozen=True)
class Output:
    """The outputs that a kernel is taken of.

    which: None for the one output of a scalar network; a number for only that logit; "trace" for the sum over logits
    of their kernels, sum_k <d f_k(x), d f_k(y)>; "sum" for the kernel of their sum, sum_kl <d f_k(x), d f_l(y)>; "full"
    for every pair of logits; "diagonal" for each logit's own kernel.
    """

    which: int | str | None = None

    def __post_init__(self) -> None:
        which: Any = self.which
        if type(which) is not bool and isinstance(which, Integral):  # also of numpy
            object.__setattr__(self, "which", int(which))
        known = self.which in NAMED if isinstance(self.which, str) else isinstance(self.which, (int, type(None)))
        if isinstance(self.which, bool) or not known:
            *others, last = (f'"{name}"' for name in NAMED)
            raise UserError(
                f"output={self.which!r} is not known: give the number of a logit, {', '.join(others)} or {last}."
            )

    def select(self, output: Any, samples: int | None = None) -> Float[Tensor, "n k"]:
        """The columns of a network's output that gradients are taken of. Raises UserError if there are none.

        Of an output that is no tensor, its `logits`.
        """
        if not isinstance(output, Tensor):
            return self.select(_logits(output), samples)
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
                    'output=0 and so on, all of them by output="trace" or output="sum", or every pair by output="full".'
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


def _logits(output: Any) -> Tensor:
    """The `logits` of an output that is no tensor, as the models of transformers give it."""
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(found, Tensor):
        return found
    kind = type(output).__name__
    example = "model(x)[0]" if isinstance(output, (tuple, list)) else "model(x).name"
    raise UserError(
        f"the model gives a {kind}, not a tensor or an object with logits, so it is unclear what its kernel is: give "
        f"forward=lambda model, batch: tensor, such as lambda model, x: {example}."
    )
