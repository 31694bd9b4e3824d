"""Alignment of a kernel with the labels: how close it is to the ideal kernel yy'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from afterkernel.measures.alignment import alignment, cka
from afterkernel.measures.matrices import check_gram, check_tensor, or_none
from afterkernel.measures.measure import Measure, Numbers, SampleGram
from afterkernel.svm.checks import check_labels
from afterkernel.types import Float, Tensor


def target_alignment(K: Tensor, y: Tensor) -> float:
    """<K, yy'> / (|K| |yy'|), y in {-1, +1}: 1 for the kernel yy' itself (Cristianini, Shawe-Taylor, Elisseeff and
    Kandola, "On kernel-target alignment", NIPS 2001).

    K: (n, n), the Gram matrix of n images with themselves; y: (n,), labels in {0, 1}. Sums are in float64. Raises
    UserError for a matrix that is not square, not symmetric, zero or not finite, and for other labels.
    """
    check_gram(K, "target alignment")
    return alignment(K, _target(K, y))


def target_cka(K: Tensor, y: Tensor) -> float:
    """The same of the centred matrices. Raises UserError as `target_alignment` does, and for a single class."""
    check_gram(K, "target alignment")
    return cka(K, _target(K, y))


@dataclass
class TargetAlignment(Measure):
    """Alignment with the labels, uncentred and centred."""

    name: ClassVar[str] = "target_alignment"
    what: ClassVar[str] = "alignment and CKA with the labels"
    cost: ClassVar[str] = "about 20 n^2 operations, n = gram_images; no embedding"
    by_default: ClassVar[bool] = True
    of_test_images: ClassVar[bool] = False

    def of_sample(self, gram: SampleGram) -> Numbers:
        """target_alignment and target_cka."""
        return {
            "target_alignment": or_none(target_alignment, gram.matrix, gram.labels),
            "target_cka": or_none(target_cka, gram.matrix, gram.labels),
        }


def _target(K: Float[Tensor, "n n"], y: Tensor) -> Float[Tensor, "n n"]:
    check_tensor("y", y)
    label = check_labels(y, K, both_classes=False)
    return torch.outer(label, label)
