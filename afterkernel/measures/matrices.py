"""What the measures of Gram matrices share: checks, and passes over rows in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from afterkernel.errors import UserError
from afterkernel.types import Float, Tensor

# Entries of a matrix that are widened to float64 at once: 4 MB.
_ENTRIES = 1 << 19


def check_finite_matrix(name: str, matrix: Tensor) -> None:
    """Raise UserError for what is no matrix of finite numbers, or holds zeros alone."""
    if matrix.dim() != 2 or matrix.numel() == 0:
        raise UserError(f"{name} has shape {tuple(matrix.shape)}: a Gram matrix has two dimensions, neither of them 0.")
    low, high = (float(end) for end in torch.aminmax(matrix))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(f"{name} holds NaN or infinity: compute it in a wider data type, or look for its cause.")
    if low == high == 0:
        raise UserError(f"{name} holds zeros alone: its direction is not defined.")


def rows_at_once(matrix: Float[Tensor, "n m"]) -> int:
    """Rows of a matrix to widen to float64 at once."""
    return max(1, _ENTRIES // matrix.shape[1])


def row_chunks(matrix: Float[Tensor, "n m"]) -> Iterator[Float[Tensor, "rows m"]]:
    """The rows of a matrix in float64, a chunk at a time."""
    for chunk in torch.split(matrix, rows_at_once(matrix)):
        yield chunk.double()
