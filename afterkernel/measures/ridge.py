"""Kernel ridge regression as a classifier on the sample: a smooth alternative to the hard margin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from afterkernel.measures.matrices import has_several_classes, largest_entry
from afterkernel.measures.measure import Measure, Numbers, SampleGram
from afterkernel.measures.spectrum import FLOAT32_NOISE
from afterkernel.svm.checks import check_kernel
from afterkernel.svm.eigen import eigendecomposition
from afterkernel.svm.ridge import LARGEST_ERROR, RIDGES, KernelRidge, rounding_errors


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
    several_classes: ClassVar[bool] = True

    def of_sample(self, gram: SampleGram) -> Numbers:
        """ridge_test_error, ridge_loo_error, ridge (relative to the largest diagonal entry)."""
        nothing: Numbers = {"ridge_test_error": None, "ridge_loo_error": None, "ridge": None}
        # Products of less than float32 leave matrices that are not positive semi-definite.
        if not has_several_classes(gram.labels) or largest_entry(gram.matrix) == 0 or gram.noise > FLOAT32_NOISE:
            return nothing
        if gram.n_classes > 2:
            return _of_classes(gram)
        fitted = KernelRidge().fit(gram.matrix, gram.labels)
        return {
            "ridge_test_error": float((fitted.predict(gram.test) != gram.test_labels).double().mean()),
            "ridge_loo_error": float(fitted.loo_error_[RIDGES.index(fitted.ridge_)]),
            "ridge": fitted.ridge_,
        }


def _of_classes(gram: SampleGram) -> Numbers:
    """Ridge regression of each class against the rest, y in {-1, +1}; the class of the largest value.

    As `KernelRidge`, with one ridge for all classes, large enough for the precision of K: of least leave-one-out error,
    of those of least mean squared residual over images and classes. One eigendecomposition serves all.
    """
    K = check_kernel(gram.matrix)
    values, vectors = eigendecomposition(K)
    targets = 2 * F.one_hot(gram.labels, gram.n_classes).to(torch.float64) - 1
    projected, best = vectors.T @ targets, None
    for ridge in RIDGES:
        inverse = 1 / (values + ridge * float(K.diagonal().max()))
        dual = vectors @ (projected * inverse[:, None])
        if float(rounding_errors(K, dual).max()) > LARGEST_ERROR:
            continue
        residual = dual / (vectors.square() @ inverse)[:, None]
        loo_error = float(((targets - residual).argmax(1) != gram.labels).double().mean())
        found = (loo_error, float(residual.square().mean()), ridge, dual)
        if best is None or found[:2] < best[:2]:
            best = found
    assert best is not None
    loo_error, _, ridge, dual = best
    predicted = (gram.test.double() @ dual).argmax(1)
    return {
        "ridge_test_error": float((predicted != gram.test_labels).double().mean()),
        "ridge_loo_error": loo_error,
        "ridge": ridge,
    }
