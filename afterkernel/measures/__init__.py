"""Measures of kernels, one per file: what an embedding is invariant to, how two kernels align, where the labels lie."""

from __future__ import annotations

from typing import Any

from afterkernel.measures.alignment import alignment, cka
from afterkernel.measures.context import Context, measure_all
from afterkernel.measures.effective_rank import effective_rank
from afterkernel.measures.invariance import TRANSFORMS, Invariance, invariance, invariances, model_invariance
from afterkernel.measures.kernel_distance import kernel_distance
from afterkernel.measures.measure import Measure, Numbers
from afterkernel.measures.normalisation import normalise
from afterkernel.measures.options import Measures, section
from afterkernel.measures.samples import sample_images
from afterkernel.measures.spectrum import Spectrum, spectrum
from afterkernel.measures.state import MeasureState
from afterkernel.measures.target_alignment import target_alignment
from afterkernel.plugins import Registry

MEASURES: Registry[type[Measure]] = Registry(__name__, Measure, overrides=("of_training_set", "of_sample", "of_images"))


def measure_options(**options: Any) -> Measures:
    """The section `measure` of a configuration, which has the options of every measure in MEASURES."""
    return section(dict(MEASURES))(**options)


__all__ = [
    "MEASURES",
    "TRANSFORMS",
    "Context",
    "Invariance",
    "Measure",
    "MeasureState",
    "Measures",
    "Numbers",
    "Spectrum",
    "alignment",
    "cka",
    "effective_rank",
    "invariance",
    "invariances",
    "kernel_distance",
    "measure_all",
    "measure_options",
    "model_invariance",
    "normalise",
    "sample_images",
    "spectrum",
    "target_alignment",
]
