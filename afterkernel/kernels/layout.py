"""The layout of a network: the layers captured, the remaining parameters, and the memory that a sample takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch.utils._pytree import tree_leaves

from afterkernel.errors import UserError
from afterkernel.kernels.groups import Group, Unit
from afterkernel.kernels.layers import Shape
from afterkernel.kernels.numeric import graph_bytes
from afterkernel.kernels.samples import Batch
from afterkernel.kernels.working_copy import WorkingCopy
from afterkernel.types import Float, Tensor

Result = TypeVar("Result")


class LayoutChangedError(UserError):
    """A batch uses parameters differently from the first samples; these get per-example gradients from now on.

    Blocks collected earlier have another layout and have to be collected again, which `try_again` does.
    """

    def __init__(self) -> None:
        super().__init__(
            "the model uses its parameters differently for some samples than for the first: compute it again."
        )


class TableWrittenOutError(LayoutChangedError):
    """A batch has more entries of a table than its lookups hold: the table's gradients are written out from now on."""


def try_again(compute: Callable[[], Result]) -> Result:
    """The result of a computation that is restarted whenever the layout changes: at most once per parameter."""
    while True:
        try:
            return compute()
        except LayoutChangedError:
            continue


@dataclass(frozen=True)
class Layout:
    """The units of a network, and the parameters that need per-example gradients, each with the reason.

    Of one sample: `outputs`, `activation_bytes` kept for one backward pass and made in it, and `target_bytes` of all
    tensors in the sites whose gradients are made for every output.
    """

    groups: tuple[Group, ...]
    left_over: Mapping[str, str]
    unused: tuple[str, ...]
    outputs: int
    activation_bytes: int
    target_bytes: int

    @property
    def shapes(self) -> dict[Unit, Shape]:
        """The units with their sizes, in the order of their terms."""
        return {unit: shape for group in self.groups for unit, shape in group.shapes.items()}


def watched(
    model: WorkingCopy, probe: Batch, forward: Callable[[], tuple[Result, Float[Tensor, "n k"]]]
) -> tuple[Result, Float[Tensor, "n k"], int]:
    """A forward pass of a few samples, and the bytes that it keeps for the backward pass."""
    saved: dict[int, int] = {}
    kept = {_address(tensor) for tensor in (*model.parameters(), *model.buffers(), *tree_leaves(probe))}

    def note(tensor: Tensor) -> Tensor:
        if tensor.layout == torch.strided and _address(tensor) not in kept:
            size = min(tensor.untyped_storage().nbytes(), tensor.numel() * tensor.element_size())
            saved[_address(tensor)] = max(size, saved.get(_address(tensor), 0))
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            result, outputs = forward()
    except RuntimeError:  # torch.func transforms in the forward pass take no such hooks
        result, outputs = forward()
        saved[0] = graph_bytes(outputs)
    return result, outputs, sum(saved.values())


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
