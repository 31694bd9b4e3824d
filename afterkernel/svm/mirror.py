"""Hard margins without intercept from solvers that always fit one: the samples together with their mirror images."""

from __future__ import annotations

import torch

from afterkernel.types import Float, Tensor

ROWS_AT_ONCE = 1024


def kernel_to_fit(
    K: Float[Tensor, "n n"], mirrored: bool, dtype: torch.dtype, device: torch.device | str
) -> tuple[Float[Tensor, "m m"], float]:
    """K divided by its largest diagonal entry, as a new matrix of `dtype` on `device`, and that entry.

    `mirrored` doubles the samples: phi_i with label y_i is joined by -phi_i with label -y_i, so that the matrix is
    [[K, -K], [-K, K]], m = 2n. Both ask the same of w, and by symmetry the best intercept is 0. Takes m^2 numbers, and
    no other n x n on the way.
    """
    n = len(K)
    scale = float(K.diagonal().max())
    m = 2 * n if mirrored else n
    matrix = torch.empty(m, m, dtype=dtype, device=device)
    for top in range(0, n, ROWS_AT_ONCE):
        matrix[top : min(top + ROWS_AT_ONCE, n), :n] = K[top : top + ROWS_AT_ONCE]
    corner = matrix[:n, :n].div_(scale)
    if mirrored:
        torch.neg(corner, out=matrix[:n, n:])
        torch.neg(corner, out=matrix[n:, :n])
        matrix[n:, n:] = corner
    return matrix, scale


def labels_to_fit(y: Float[Tensor, " n"], mirrored: bool) -> Float[Tensor, " m"]:
    """The labels {-1, +1} that belong to `kernel_to_fit`, on the CPU."""
    y = y.to("cpu", torch.float64)
    return torch.cat([y, -y]) if mirrored else y


def fold(signed: Float[Tensor, " m"], labels: Float[Tensor, " m"], n: int) -> Float[Tensor, " n"]:
    """The dual of the n samples from the signed one (label times dual) of the m fitted: the halves add up in w."""
    return (signed * labels).clamp_min(0).reshape(-1, n).sum(0)
