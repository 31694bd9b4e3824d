"""Classifiers on a precomputed kernel: hard-margin SVMs (one backend per file, certified independently) and others."""

from __future__ import annotations

from afterkernel.plugins import Registry
from afterkernel.svm.backend import Backend, Solution
from afterkernel.svm.certificate import Certificate, certify
from afterkernel.svm.estimator import HardMarginSVM
from afterkernel.svm.interpolator import MinimumNormInterpolator
from afterkernel.svm.one_vs_rest import OneVsRestSVM
from afterkernel.svm.outcome import Outcome
from afterkernel.svm.ridge import KernelRidge
from afterkernel.svm.soft_path import SoftMarginPath

BACKENDS: Registry[type[Backend]] = Registry(__name__, Backend, overrides=("solve",))

__all__ = [
    "BACKENDS",
    "Backend",
    "Certificate",
    "HardMarginSVM",
    "KernelRidge",
    "MinimumNormInterpolator",
    "OneVsRestSVM",
    "Outcome",
    "SoftMarginPath",
    "Solution",
    "certify",
]
