"""The eigenvalues and eigenvectors of a kernel matrix."""

from __future__ import annotations

import torch

from afterkernel.svm.definite import allowed_eigenvalue, as_formed, not_definite
from afterkernel.types import Float, Tensor


def eigendecomposition(
    K: Float[Tensor, "n n"], weights: Float[Tensor, " n"] | None = None
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n n"]]:
    """Eigenvalues of K, ascending, and the eigenvectors as columns, float64; those that rounding made negative are 0.

    With `weights` w >= 0, of sqrt(w_i w_j) K_ij. Raises UserError where one is further below 0 than rounding in the
    precision that K was formed in explains. About 9 n^3 operations; in addition to K, the eigenvectors and LAPACK's
    workspace of twice their size (and K in float64, if it is not, or if there are weights).
    """
    matrix = K.to(torch.float64, copy=weights is not None)
    if weights is not None:
        matrix.mul_(weights.sqrt()).mul_(weights.sqrt()[:, None])
    values, vectors = torch.linalg.eigh(matrix)
    lowest = float(values[0]) / (1.0 if weights is None else float(weights.max()))
    if lowest < allowed_eigenvalue(K) and lowest < allowed_eigenvalue(as_formed(K)):
        raise not_definite(lowest, K)
    return values.clamp_min(0), vectors
