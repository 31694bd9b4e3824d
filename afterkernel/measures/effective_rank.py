"""Effective rank of a Gram matrix: how many directions carry the kernel."""

from __future__ import annotations

import torch

from afterkernel.errors import UserError
from afterkernel.measures.matrices import check_finite_matrix, row_chunks, rows_at_once
from afterkernel.types import Float, Tensor

# Up to this size all eigenvalues cost seconds; beyond, only the largest is sought.
EXACT_UP_TO = 2000
# Of the eigenvector's residual: its square, over the gap, bounds the error of the eigenvalue.
_RESIDUAL = 1e-12
# Two halves of a Gram matrix that was computed in bfloat16 may differ by this part of its largest entry.
_ASYMMETRY = 1e-2


def effective_rank(K: Tensor) -> float:
    """Trace divided by the largest eigenvalue of a Gram matrix K (n, n): 1 for one direction, n for the identity.

    Exact in float64 up to n = 2000. Beyond, the largest eigenvalue is found to 1e-10 (relative) by Lanczos iterations
    from a fixed start, in float64, while K stays in its data type. Raises UserError for a matrix that is not square,
    not symmetric, without a positive eigenvalue, zero, or not finite.
    """
    check_finite_matrix("K", K)
    n, m = K.shape
    if n != m:
        raise UserError(f"K has shape {(n, m)}: the effective rank is that of a square Gram matrix.")
    _check_symmetric(K)
    trace = float(K.diagonal().double().sum())
    largest = float(torch.linalg.eigvalsh(K.double())[-1]) if n <= EXACT_UP_TO else largest_eigenvalue(K)
    if largest <= 0:
        raise UserError(f"K has no positive eigenvalue (the largest is {largest:.3g}): a Gram matrix has one.")
    return trace / largest


def largest_eigenvalue(K: Float[Tensor, "n n"]) -> float:
    """Largest eigenvalue of a symmetric matrix to 1e-10 (relative), by Lanczos with full reorthogonalisation.

    The start is a Gaussian vector of a fixed seed, which is orthogonal to no eigenvector that it was not made for. The
    residual bounds the distance to an eigenvalue, and at step n the iteration is exact, so it always ends.
    """
    n = len(K)
    vector = torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(K.device)
    basis = (vector / vector.norm())[None]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        product = torch.cat([chunk @ basis[-1] for chunk in row_chunks(K)])
        diagonal.append(float(product @ basis[-1]))
        # Twice is enough to stay orthogonal to the last digit.
        for _ in range(2):
            product = product - basis.T @ (basis @ product)
        residual = float(product.norm())
        off = torch.tensor(beside, dtype=torch.float64)
        small = torch.diag(torch.tensor(diagonal, dtype=torch.float64)) + torch.diag(off, 1) + torch.diag(off, -1)
        values, vectors = torch.linalg.eigh(small)
        if residual * abs(float(vectors[-1, -1])) <= _RESIDUAL * float(values.abs().max()) or len(basis) == n:
            return float(values[-1])
        beside.append(residual)
        basis = torch.cat([basis, (product / residual)[None]])


def _check_symmetric(K: Float[Tensor, "n n"]) -> None:
    largest = max(abs(float(end)) for end in torch.aminmax(K))
    step = rows_at_once(K)
    for start in range(0, len(K), step):
        rows, columns = K[start : start + step].double(), K[:, start : start + step].double().T
        if float((rows - columns).abs().max()) > _ASYMMETRY * largest:
            raise UserError(
                "K is not symmetric: the effective rank is that of a Gram matrix of images with themselves."
            )
