"""Effective rank of a Gram matrix: how many directions carry the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from afterkernel.errors import UserError
from afterkernel.measures.matrices import check_gram, or_none, row_chunks
from afterkernel.measures.measure import Measure, Numbers, SampleGram
from afterkernel.types import Float, Tensor

# Up to this size all eigenvalues cost seconds; beyond, only the largest is sought.
EXACT_UP_TO = 2000
# Of the eigenvector's residual: its square, over the gap, bounds the error of the eigenvalue.
_RESIDUAL = 1e-12


def effective_rank(K: Tensor) -> float:
    """Trace divided by the largest eigenvalue of a Gram matrix K (n, n): 1 for one direction, n for the identity.

    Exact in float64 up to n = 2000. Beyond, the largest eigenvalue is found to 1e-10 (relative) by Lanczos iterations
    from a fixed start, in float64, while K stays in its data type. Raises UserError for a matrix that is not square,
    not symmetric, without a positive eigenvalue, zero, or not finite.
    """
    check_gram(K, "the effective rank")
    trace = float(K.diagonal().double().sum())
    largest = float(torch.linalg.eigvalsh(K.double())[-1]) if len(K) <= EXACT_UP_TO else largest_eigenvalue(K)
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
    off_diagonal: list[float] = []
    while True:
        product = torch.cat([chunk @ basis[-1] for chunk in row_chunks(K)])
        diagonal.append(float(product @ basis[-1]))
        # Twice is enough to stay orthogonal to the last digit.
        for _ in range(2):
            product = product - basis.T @ (basis @ product)
        residual = float(product.norm())
        off = torch.tensor(off_diagonal, dtype=torch.float64)
        small = torch.diag(torch.tensor(diagonal, dtype=torch.float64)) + torch.diag(off, 1) + torch.diag(off, -1)
        values, vectors = torch.linalg.eigh(small)
        if residual * abs(float(vectors[-1, -1])) <= _RESIDUAL * float(values.abs().max()) or len(basis) == n:
            return float(values[-1])
        off_diagonal.append(residual)
        basis = torch.cat([basis, (product / residual)[None]])


@dataclass
class EffectiveRank(Measure):
    """Effective rank: of the whole kernel on all training images, of its layers on the sample."""

    name: ClassVar[str] = "effective_rank"
    what: ClassVar[str] = "trace / largest eigenvalue on all training images; of layers on the sample"
    cost: ClassVar[str] = "4/3 n^3 operations for n training images up to 2000, about 30 n^2 for more"
    by_default: ClassVar[bool] = True
    several_classes: ClassVar[bool] = True
    of_test_images: ClassVar[bool] = False

    def of_training_set(self, K: Float[Tensor, "n n"]) -> Numbers:
        """effective_rank."""
        return {"effective_rank": or_none(effective_rank, K)}

    def of_sample(self, gram: SampleGram) -> Numbers:
        """The same of a layer."""
        return {"effective_rank": or_none(effective_rank, gram.matrix)} if gram.layer else {}
