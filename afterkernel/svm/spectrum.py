"""The eigenvalues and eigenvectors of a kernel matrix."""

from __future__ import annotations

import torch

from afterkernel.errors import UserError
from afterkernel.svm.signed_gram import PRECISION
from afterkernel.types import Float, Tensor


def spectrum(K: Float[Tensor, "n n"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n n"]]:
    """Eigenvalues of K, ascending, and the eigenvectors as columns, float64; those that rounding made negative are 0.

    A kernel formed in float32, whatever its dtype now, may be off by 5e-7 of its largest diagonal entry in every entry,
    which moves an eigenvalue by n times that at most: raises UserError where one is further below 0. About 9 n^3
    operations; beside K, the eigenvectors and LAPACK's workspace of twice their size (and K in float64, if it is not).
    """
    values, vectors = torch.linalg.eigh(K.to(torch.float64))
    lowest, allowed = float(values[0]), len(K) * PRECISION[torch.float32] * float(K.diagonal().max())
    if lowest < -allowed:
        raise UserError(
            f"K has the negative eigenvalue {lowest:.3g}, where rounding explains {-allowed:.1g}: "
            "a kernel is positive semi-definite."
        )
    return values.clamp_min(0), vectors
