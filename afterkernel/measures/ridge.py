"""Kernel ridge regression as a classifier on the sample: a smooth alternative to the hard margin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from afterkernel.measures.matrices import has_both_classes, largest_entry
from afterkernel.measures.measure import Measure, Numbers, SampleGram
from afterkernel.measures.spectrum import FLOAT32_NOISE
from afterkernel.svm.ridge import KernelRidge


@dataclass
class Ridge(Measure):
    """Test error of kernel ridge regression, trained on the sample, its ridge chosen by exact leave-one-out error."""

    name: ClassVar[str] = "ridge"
    what: ClassVar[str] = (
        "kernel ridge regression on the sample: test error, exact leave-one-out error, the ridge chosen"
    )
    cost: ClassVar[str] = (
        "about 9 n^3 operations and 32 n^2 bytes, n = gram_images; m n for m test images; no embedding"
    )
    by_default: ClassVar[bool] = True

    def of_sample(self, gram: SampleGram) -> Numbers:
        """ridge_test_error, ridge_loo_error, ridge (relative to the largest diagonal entry)."""
        nothing: Numbers = {"ridge_test_error": None, "ridge_loo_error": None, "ridge": None}
        # Products of less than float32 leave matrices that are not positive semi-definite.
        if not has_both_classes(gram.labels) or largest_entry(gram.matrix) == 0 or gram.noise > FLOAT32_NOISE:
            return nothing
        fitted = KernelRidge().fit(gram.matrix, gram.labels)
        return {
            "ridge_test_error": float((fitted.predict(gram.test) != gram.test_labels).double().mean()),
            "ridge_loo_error": float(fitted.loo_error_.min()),
            "ridge": fitted.ridge_,
        }
