"""The layout of a network: the layers captured, the remaining parameters, and the memory that a sample takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TypeVar

import torch
from torch.utils._pytree import tree_leaves

from afterkernel.errors import UserError
from afterkernel.kernels.capture import Captured, Unit
from afterkernel.kernels.layers import Shape
from afterkernel.kernels.numeric import graph_bytes
from afterkernel.kernels.samples import Batch, Samples
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


def try_again(compute: Callable[[], Result]) -> Result:
    """The result of a computation that is restarted whenever the layout changes: at most once per parameter."""
    while True:
        try:
            return compute()
        except LayoutChangedError:
            continue


@dataclass(frozen=True)
class Layout:
    """The layers captured, with their sizes and numbers of calls, and the parameters that need per-example gradients.

    Of one sample: `outputs`, `activation_bytes` kept for one backward pass and made in it, and `result_bytes` of all
    layers, whose gradients are made for every output.
    """

    shapes: Mapping[Unit, Shape]
    calls: Mapping[Unit, int]
    left_over: Mapping[str, str]
    unused: tuple[str, ...]
    outputs: int
    activation_bytes: int
    result_bytes: int


def look(
    model: WorkingCopy, probe: Batch, forward: Callable[[Batch], tuple[Captured, Float[Tensor, "n k"]]]
) -> tuple[Layout, Captured, Float[Tensor, "n k"]]:
    """The layout from a few samples, with their forward pass. UserError if the output depends on no parameter."""
    saved: dict[int, int] = {}
    kept = {_address(tensor) for tensor in (*model.parameters(), *model.buffers(), *tree_leaves(probe))}

    def note(tensor: Tensor) -> Tensor:
        if tensor.layout == torch.strided and _address(tensor) not in kept:
            size = min(tensor.untyped_storage().nbytes(), tensor.numel() * tensor.element_size())
            saved[_address(tensor)] = max(size, saved.get(_address(tensor), 0))
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            captured, outputs = forward(probe)
    except RuntimeError:  # torch.func transforms in the forward pass take no such hooks
        captured, outputs = forward(probe)
        saved[0] = graph_bytes(outputs)
    if not (outputs.requires_grad and (captured.units or captured.left_over)):
        by_function = isinstance(probe, Samples) and probe.forward is not None
        hint = ": forward has to use the model that it is given" if by_function else ""
        raise UserError(f"the model's output does not depend on any trainable parameter, so it has no NTK{hint}.")
    shapes = {}
    for unit, calls in captured.units.items():
        found = [call.call.shape(weight=unit.weight is not None, bias=unit.bias is not None) for call in calls]
        shapes[unit] = replace(found[0], positions=sum(shape.positions for shape in found))
    results = sum(prod(call.result_shape) for calls in captured.units.values() for call in calls)
    layout = Layout(
        shapes=shapes,
        calls={unit: len(calls) for unit, calls in captured.units.items()},
        left_over=captured.left_over,
        unused=captured.unused,
        outputs=outputs.shape[1],
        # Gradients of the activations take as much again.
        activation_bytes=max(1, 2 * sum(saved.values()) // len(probe)),
        result_bytes=results * outputs.element_size() // len(probe),
    )
    return layout, captured, outputs


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
