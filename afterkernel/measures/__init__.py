"""Measures of kernels: what an embedding is invariant to, how two kernels align, how many directions one has."""

from afterkernel.measures.alignment import alignment, cka
from afterkernel.measures.effective_rank import effective_rank
from afterkernel.measures.invariance import TRANSFORMS, invariance, invariances, model_invariance, sample_images
from afterkernel.measures.options import Measure

__all__ = [
    "TRANSFORMS",
    "Measure",
    "alignment",
    "cka",
    "effective_rank",
    "invariance",
    "invariances",
    "model_invariance",
    "sample_images",
]
