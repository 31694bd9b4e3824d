"""Alignment of a kernel with the labels: how close it is to the kernel that they define, yy' for two classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from afterkernel.measures.alignment import alignment, cka
from afterkernel.measures.class_targets import class_targets
from afterkernel.measures.matrices import check_gram, or_none
from afterkernel.measures.measure import Measure, Numbers, SampleGram
from afterkernel.types import Float, Tensor


def target_alignment(K: Tensor, y: Tensor, n_classes: int | None = None) -> float:
    """`<K, C> / (|K| |C|)`, C the kernel of the labels: 1 for C itself (Cristianini, Shawe-Taylor, Elisseeff and
    Kandola, "On kernel-target alignment", NIPS 2001).

    C is yy', y in {-1, +1}, for two classes. For c classes C_ij is 1 where i and j are of one class and -1 / (c - 1)
    where they are not. K: (n, n), the Gram matrix of n images with themselves; y: (n,), labels in {0, ..., c - 1};
    without n_classes = c each of more than two classes must occur. Sums are in float64. Raises UserError for a matrix
    that is not square, not symmetric, zero or not finite, and for other labels.
    """
    check_gram(K, "target alignment")
    return alignment(K, _target(K, y, n_classes))


def target_cka(K: Tensor, y: Tensor, n_classes: int | None = None) -> float:
    """The same of the centred matrices, for which the class-indicator kernel is as good as C. Raises UserError as
    `target_alignment` does, and for a single class.
    """
    check_gram(K, "target alignment")
    return cka(K, _target(K, y, n_classes))


@dataclass
class TargetAlignment(Measure):
    """Alignment with the labels, uncentred and centred."""

    name: ClassVar[str] = "target_alignment"
    what: ClassVar[str] = "alignment and CKA with the labels"
    cost: ClassVar[str] = "about 20 n^2 operations, n = gram_images; no embedding"
    by_default: ClassVar[bool] = True
    several_classes: ClassVar[bool] = True
    of_test_images: ClassVar[bool] = False

    def of_sample(self, gram: SampleGram) -> Numbers:
        """target_alignment and target_cka."""
        return {
            "target_alignment": or_none(target_alignment, gram.matrix, gram.labels, gram.n_classes),
            "target_cka": or_none(target_cka, gram.matrix, gram.labels, gram.n_classes),
        }


def _target(K: Float[Tensor, "n n"], y: Tensor, n_classes: int | None) -> Float[Tensor, "n n"]:
    targets = class_targets(y, K, n_classes)
    return targets @ targets.T
