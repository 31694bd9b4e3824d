"""What the measures of Gram matrices share: checks, and passes over rows in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch

from afterkernel.errors import UserError
from afterkernel.text import a_kind
from afterkernel.types import Float, Int, Tensor

# Entries of a matrix that are widened to float64 at once: 4 MB.
_ENTRIES = 1 << 19
# Two halves of a Gram matrix that was computed in bfloat16 may differ by this part of its largest entry.
_ASYMMETRY = 1e-2


class UndefinedError(UserError):
    """A measure does not exist for this kernel, such as the direction of a matrix of zeros."""


def or_none(measure: Callable[..., float], *arguments: object) -> float | None:
    """A measure of the arguments, or None where it does not exist for them or one of them is None."""
    if any(argument is None for argument in arguments):
        return None
    try:
        return measure(*arguments)
    except UndefinedError:
        return None


def check_finite_matrix(name: str, matrix: Tensor) -> None:
    """Raise UserError unless this is a matrix of finite numbers that are not all zero."""
    check_tensor(name, matrix)
    if matrix.dim() != 2 or matrix.numel() == 0:
        raise UserError(f"{name} has shape {tuple(matrix.shape)}: a Gram matrix has two dimensions, neither of them 0.")
    low, high = (float(end) for end in torch.aminmax(matrix))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(f"{name} holds NaN or infinity: compute it in a wider data type, or find the cause.")
    if low == high == 0:
        raise UndefinedError(f"{name} contains only zeros: its direction is not defined.")


def check_tensor(name: str, value: object) -> None:
    """Raise UserError for what is not a dense tensor of real numbers."""
    if not isinstance(value, Tensor):
        raise UserError(f"{name} is {a_kind(value)}, not a torch tensor: convert it with torch.as_tensor.")
    if value.is_complex() or value.layout != torch.strided or value.is_meta:
        raise UserError(f"{name} must be a dense tensor of real numbers.")


def check_pair(K: Tensor, C: Tensor) -> None:
    """Raise UserError for two matrices that can't be those of the same images."""
    check_tensor("K", K)
    check_tensor("C", C)
    if K.shape != C.shape:
        raise UserError(f"K has shape {tuple(K.shape)} and C {tuple(C.shape)}: both must be of the same images.")
    check_finite_matrix("K", K)
    check_finite_matrix("C", C)


def check_gram(K: Tensor, what: str) -> None:
    """Raise UserError for what can't be the Gram matrix of images with themselves; `what` names the measure."""
    check_finite_matrix("K", K)
    n, m = K.shape
    if n != m:
        raise UserError(f"K has shape {(n, m)}: {what} needs a square Gram matrix.")
    largest, step = largest_entry(K), rows_at_once(K)
    for start in range(0, n, step):
        rows, columns = K[start : start + step].double(), K[:, start : start + step].double().T
        if float((rows - columns).abs().max()) > _ASYMMETRY * largest:
            raise UserError(f"K is not symmetric: {what} needs a Gram matrix of images with themselves.")


def has_several_classes(y: Int[Tensor, " n"]) -> bool:
    """Whether labels hold more than one class."""
    return bool(y.min() != y.max())


def largest_entry(matrix: Float[Tensor, "n m"]) -> float:
    """The largest absolute value."""
    return max(abs(float(end)) for end in torch.aminmax(matrix))


def rows_at_once(matrix: Float[Tensor, "n m"]) -> int:
    """Rows of a matrix to widen to float64 at once."""
    return max(1, _ENTRIES // matrix.shape[1])


def row_chunks(matrix: Float[Tensor, "n m"]) -> Iterator[Float[Tensor, "rows m"]]:
    """The rows of a matrix in float64, a chunk at a time."""
    for chunk in torch.split(matrix, rows_at_once(matrix)):
        yield chunk.double()
