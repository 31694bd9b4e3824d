"""Alignment of two kernels on the same images, uncentred and centred (CKA).

Uncentred: P. M. Long, arXiv 2105.10585, section 2. Centred: Cortes, Mohri and Rostamizadeh, "Algorithms for learning
kernels based on centered alignment", JMLR 13, 2012; Kornblith, Norouzi, Lee and Hinton, arXiv 1905.00414.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from afterkernel.errors import UserError
from afterkernel.measures.matrices import UndefinedError, check_pair, largest_entry, or_none, row_chunks
from afterkernel.measures.measure import Measure, Numbers, SampleGram
from afterkernel.types import Float, Tensor


def alignment(K: Tensor, C: Tensor) -> float:
    """Cosine of two Gram matrices: `<K, C> / (|K| |C|)`, Frobenius, uncentred (P. M. Long, arXiv 2105.10585).

    K, C: (n, m), both of the same images; any data types. Sums are in float64. Raises UserError for shapes that
    differ, a matrix of zeros, NaN or infinity.
    """
    check_pair(K, C)
    return _cosine(K, C, None, None)


def cka(K: Tensor, C: Tensor) -> float:
    """Centred kernel alignment: the alignment of H K H and H C H, with H = 1 - 11'/n, which subtracts the means.

    K, C: (n, n), both of the same images; any data types. Sums are in float64. Raises UserError for shapes that
    differ or are not square, a matrix that is zero once centred, NaN or infinity.
    """
    check_pair(K, C)
    for name, matrix in (("K", K), ("C", C)):
        if matrix.shape[0] != matrix.shape[1]:
            raise UserError(f"{name} has shape {tuple(matrix.shape)}: CKA needs square Gram matrices.")
    return _cosine(K, C, _Means(K), _Means(C))


@dataclass
class Alignment(Measure):
    """Alignment and CKA with the snapshot's other kernels, and with every kernel at initialisation.

    On the sampled training images; with the snapshot's other kernels also on test images, as the paper has it.
    """

    name: ClassVar[str] = "alignment"
    what: ClassVar[str] = "alignment and CKA with the other kernels of the snapshot, and with those at initialisation"
    cost: ClassVar[str] = "about 10 n^2 operations for each, and the Gram matrix of n test images; n = gram_images"
    by_default: ClassVar[bool] = True
    several_classes: ClassVar[bool] = True
    of_test_images: ClassVar[bool] = False  # its test images are counted by gram_images
    needs_test_gram: ClassVar[bool] = True
    needs_history: ClassVar[bool] = True

    def of_sample(self, gram: SampleGram) -> Numbers:
        """alignment_with_NAME and cka_with_NAME, and those with the prefix test_, of the test images."""
        found: Numbers = {}
        for name, other in gram.others.items():
            found[f"alignment_with_{name}"] = or_none(alignment, gram.matrix, other)
            found[f"cka_with_{name}"] = or_none(cka, gram.matrix, other)
        for name, other in gram.test_others.items():
            found[f"test_alignment_with_{name}"] = or_none(alignment, gram.test_matrix, other)
            found[f"test_cka_with_{name}"] = or_none(cka, gram.test_matrix, other)
        return found


class _Means:
    """Means of the rows, of the columns, and of the whole matrix, in float64."""

    def __init__(self, matrix: Float[Tensor, "n n"]) -> None:
        self.rows = torch.cat([chunk.mean(dim=1) for chunk in row_chunks(matrix)])
        self.columns = sum(chunk.sum(dim=0) for chunk in row_chunks(matrix)) / len(matrix)
        self.all = self.rows.mean()


def _cosine(K: Float[Tensor, "n m"], C: Float[Tensor, "n m"], k_means: _Means | None, c_means: _Means | None) -> float:
    # Divided by their largest entries, very large and very small kernels neither overflow nor vanish when squared.
    k_scale, c_scale = largest_entry(K), largest_entry(C)
    product = k_square = c_square = 0.0
    for k, c in zip(_centred(K, k_means), _centred(C, c_means), strict=True):
        k, c = k / k_scale, c.to(k.device) / c_scale
        product += float((k * c).sum())
        k_square += float(k.square().sum())
        c_square += float(c.square().sum())
    # A constant kernel centres to rounding errors of this size, not to zeros.
    nothing = (torch.finfo(torch.float64).eps * len(K)) ** 2 * K.numel()
    for name, square in (("K", k_square), ("C", c_square)):
        if square <= nothing:
            raise UndefinedError(f"{name} is zero after centring: CKA is not defined for a constant kernel.")
    return product / math.sqrt(k_square * c_square)


def _centred(matrix: Float[Tensor, "n m"], means: _Means | None) -> Iterator[Float[Tensor, "rows m"]]:
    start = 0
    for chunk in row_chunks(matrix):
        stop = start + len(chunk)
        yield chunk if means is None else chunk - means.rows[start:stop, None] - means.columns + means.all
        start = stop
