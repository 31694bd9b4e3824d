"""The scale of a kernel: embeddings are divided by their mean length, so that margins can be compared."""

from __future__ import annotations

from typing import overload

from afterkernel.errors import UserError
from afterkernel.measures.matrices import check_finite_matrix
from afterkernel.types import Float, Tensor

# Added to lengths that something is divided by (arXiv 2105.10585): here, and in invariances.
NORM_OFFSET = 1e-4
# How far below 0, relative to the largest, rounding may take the diagonal of a kernel that is a difference.
_ROUNDING = 1e-4


def embedding_norm(K: Float[Tensor, "n n"]) -> float:
    """Z = 1e-4 + the mean of |phi(x)| over the training samples, of their Gram matrix K (arXiv 2105.10585)."""
    squares = K.diagonal().double()
    if bool((squares < -_ROUNDING * squares.abs().max()).any()):
        raise UserError(f"the kernel has {squares.min().item():.3g} on its diagonal: squared norms can't be negative.")
    return NORM_OFFSET + squares.clamp_min(0).sqrt().mean().item()


@overload
def normalise(K: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]: ...
@overload
def normalise(
    K: Float[Tensor, "n n"], K_test: Float[Tensor, "m n"]
) -> tuple[Float[Tensor, "n n"], Float[Tensor, "m n"]]: ...
def normalise(
    K: Float[Tensor, "n n"], K_test: Float[Tensor, "m n"] | None = None
) -> Float[Tensor, "n n"] | tuple[Float[Tensor, "n n"], Float[Tensor, "m n"]]:
    """The kernel of embeddings divided by Z = 1e-4 + their mean length, as runs normalise it: K / Z^2.

    Margins of different kernels can be compared only after that. K: the Gram matrix (n, n) of the training samples,
    which gives Z; K_test: that of m test samples with them, which is divided by the same Z^2 and returned too. Both are
    copies. Raises UserError for a K that is not square, not finite or zero, or has a negative diagonal, and for a
    K_test of another number of training samples.
    """
    check_finite_matrix("K", K)
    if K.shape[0] != K.shape[1]:
        raise UserError(f"K has shape {tuple(K.shape)}: give the Gram matrix (n, n) of the training samples.")
    scale = embedding_norm(K) ** 2
    if K_test is None:
        return K / scale
    check_finite_matrix("K_test", K_test)
    if K_test.shape[1] != len(K):
        raise UserError(
            f"K_test has shape {tuple(K_test.shape)}: with {len(K)} training samples it must be (m, {len(K)})."
        )
    return K / scale, K_test / scale
