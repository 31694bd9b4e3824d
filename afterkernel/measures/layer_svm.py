"""The hard-margin SVM of each layer's kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from afterkernel.measures.matrices import has_several_classes, largest_entry
from afterkernel.measures.measure import Measure, Numbers, SampleGram
from afterkernel.measures.spectrum import FLOAT32_NOISE
from afterkernel.svm import BACKENDS, HardMarginSVM
from afterkernel.svm.class_machines import fit_class_machines


@dataclass
class LayerSVM(Measure):
    """Test error and margin of the exact hard-margin SVM by layer, trained on the sample.

    Those of the whole kernel, on all training images and by the chosen backend, are in every record.
    """

    name: ClassVar[str] = "layer_svm"
    what: ClassVar[str] = "per_layer: test error and margin of the exact hard-margin SVM of each layer, on the sample"
    cost: ClassVar[str] = "an SVM of n = gram_images samples for each layer, some 0.1 s at n = 500; no embedding"
    by_default: ClassVar[bool] = True
    several_classes: ClassVar[bool] = True

    def of_sample(self, gram: SampleGram) -> Numbers:
        """svm_test_error and margin of a layer; the margin is None where the layer does not separate the sample."""
        if not gram.layer:
            return {}
        if not has_several_classes(gram.labels) or largest_entry(gram.matrix) == 0 or gram.noise > FLOAT32_NOISE:
            return {"svm_test_error": None, "margin": None}
        if gram.n_classes > 2:
            return self._of_classes(gram)
        svm = HardMarginSVM("exact").fit(gram.matrix, gram.labels)
        return {
            "svm_test_error": float((svm.predict(gram.test) != gram.test_labels).double().mean()),
            "margin": svm.margin_ if math.isfinite(svm.margin_) else None,
        }

    @staticmethod
    def _of_classes(gram: SampleGram) -> Numbers:
        """The same by one SVM of each class against the rest; None where the sample lacks a class."""
        if len(torch.unique(gram.labels)) < gram.n_classes:
            return {"svm_test_error": None, "margin": None}
        found = fit_class_machines(BACKENDS["exact"](), gram.matrix, gram.labels, gram.n_classes)
        return {
            "svm_test_error": float((found.predict(gram.test) != gram.test_labels).double().mean()),
            "margin": found.margin,
        }
