"""How far a kernel has moved, and how fast (Fort et al., "Deep learning versus kernel learning", arXiv 2010.15110)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from afterkernel.measures.matrices import check_pair, largest_entry, or_none, row_chunks
from afterkernel.measures.measure import Measure, Numbers, SampleGram
from afterkernel.types import Float, Tensor


def kernel_distance(K: Tensor, C: Tensor) -> float:
    """`1 - <K, C> / (|K| |C|)`, Frobenius, uncentred: 0 for one direction, 1 for orthogonal ones.

    Computed as |K / |K| - C / |C||^2 / 2, which is the same number without cancellation, so that kernels that hardly
    differ keep their digits. K, C: (n, m), both of the same images; sums are in float64. Raises UserError for shapes
    that differ, a matrix of zeros, NaN or infinity.
    """
    check_pair(K, C)
    k_size, c_size = _size(K), _size(C)
    difference = 0.0
    for k, c in zip(row_chunks(K), row_chunks(C), strict=True):
        difference += float((k / k_size - c.to(k.device) / c_size).square().sum())
    return difference / 2


def _size(matrix: Float[Tensor, "n m"]) -> float:
    # Divided by its largest entry a very large or small kernel neither overflows nor vanishes when squared.
    scale = largest_entry(matrix)
    return scale * math.sqrt(sum(float((chunk / scale).square().sum()) for chunk in row_chunks(matrix)))


@dataclass
class KernelDistance(Measure):
    """Kernel distance to the initialisation, and to the previous snapshot per epoch."""

    name: ClassVar[str] = "kernel_distance"
    what: ClassVar[str] = (
        "distance (1 - alignment) to the initialisation; velocity: distance to the previous snapshot, per epoch"
    )
    cost: ClassVar[str] = (
        "about 20 n^2 operations, n = gram_images; no embedding; 2 n^2 bytes on disk per snapshot (float32)"
    )
    by_default: ClassVar[bool] = True
    several_classes: ClassVar[bool] = True
    of_test_images: ClassVar[bool] = False
    needs_history: ClassVar[bool] = True

    def of_sample(self, gram: SampleGram) -> Numbers:
        """distance_to_initial; kernel_velocity, per epoch."""
        moved = or_none(kernel_distance, gram.matrix, gram.previous)
        return {
            "distance_to_initial": or_none(kernel_distance, gram.matrix, gram.initial),
            "kernel_velocity": moved / gram.epochs_since if moved is not None and gram.epochs_since else None,
        }
