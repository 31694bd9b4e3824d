"""Numbers in the outputs of a model: their data types, their sizes, and how far two outputs are apart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from afterkernel.errors import UserError
from afterkernel.types import Tensor


def as_real(tensor: Tensor) -> Tensor:
    """Complex numbers as pairs of real ones: a complex parameter is two real ones."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def dense(gradient: Tensor) -> Tensor:
    """A gradient that autograd may have made sparse."""
    return gradient.to_dense() if gradient.is_sparse else gradient


def real_numbers(tensor: Tensor) -> int:
    """How many real numbers a tensor has."""
    return tensor.numel() * (2 if tensor.is_complex() else 1)


# Operations that change only the data type or the shape of an output; beginnings of the names of autograd's nodes.
ARRANGING = ("ToCopy", "View", "Reshape", "UnsafeView", "Squeeze", "Unsqueeze", "Slice", "Select", "Clone")


def computed_dtype(output: Tensor) -> torch.dtype:
    """The least precise floating-point type that an output is computed in, apart from what it is itself cast to."""
    node: Any = output.grad_fn
    while node is not None and node.name().startswith(ARRANGING):
        node = node.next_functions[0][0]
    kinds = [part.dtype for part in _graph(node) if part.dtype.is_floating_point]
    return min(kinds, key=digits, default=output.dtype)


def _graph(start: Any) -> Iterator[Any]:
    """What autograd's graph from a node on knows of the numbers in it: their data types and shapes."""
    seen, nodes = set(), [start]
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield from (part for part in getattr(node, "_input_metadata", ()) if part.dtype is not None)
            nodes.extend(child for child, _ in node.next_functions)


def coarsest_dtype(output: Tensor) -> torch.dtype:
    """The least precise floating-point type in the graph of an output: what its rounding is like."""
    kinds = {output.dtype, *(part.dtype for part in _graph(output.grad_fn))}
    floats = [
        kind.to_real() if kind.is_complex else kind for kind in kinds if kind.is_floating_point or kind.is_complex
    ]
    return min(floats, key=digits, default=torch.float64)


def graph_bytes(output: Tensor) -> int:
    """Bytes of all results in the graph of an output: at most these are kept for the backward pass."""
    return sum(math.prod(part.shape) * part.dtype.itemsize for part in _graph(output.grad_fn))


def digits(kind: torch.dtype) -> float:
    """The larger, the more digits a data type has."""
    return -torch.finfo(kind).eps


def coarsest(output: Any, otherwise: torch.dtype) -> torch.dtype:
    """The least precise floating-point type in the graphs of all tensors of an output."""
    kinds = [coarsest_dtype(leaf) for leaf in number_tensors(output)]
    return min(kinds, key=digits, default=otherwise)


def number_tensors(output: Any) -> list[Tensor]:
    """Tensors of floating-point or complex numbers in an output."""
    return [
        leaf
        for leaf in tree_leaves(output)
        if isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex()) and leaf.numel()
    ]


def largest_difference(output: Any, expected: Any) -> float:
    """The largest difference relative to the largest number of the same tensor, where the expected one is finite."""
    largest = 0.0
    for found, wanted in zip(number_tensors(output), number_tensors(expected), strict=False):
        if found.shape != wanted.shape:
            return float("inf")
        a, b = (part.detach().cpu().to(torch.complex128) for part in (found, wanted))
        finite = torch.isfinite(b)
        if finite.any():
            scale = b[finite].abs().max()
            apart = (a - b)[finite].abs().max()
            worst = (apart / scale).item() if scale > 0 else float(apart > 0)
            largest = max(largest, float("inf") if worst != worst else worst)
    return largest


def overflows(output: Any) -> bool:
    """Whether a number of an output is infinite."""
    return any(bool(torch.isinf(leaf).any()) for leaf in number_tensors(output))


def not_repeatable(change: float) -> UserError:
    """The error of a model that gives other outputs for the same samples."""
    return UserError(
        f"the same samples give other outputs when they are computed again (by {change:.2g}): the model is random "
        "even in evaluation mode, or keeps a state from one call to the next; make its forward pass deterministic "
        "and without state."
    )
