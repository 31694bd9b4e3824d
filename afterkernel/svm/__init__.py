"""Hard-margin SVMs on a precomputed kernel: one backend a file, certificates computed outside the backends."""

from __future__ import annotations

from afterkernel.discovery import members
from afterkernel.svm.backend import Backend, Solution
from afterkernel.svm.certificate import Certificate, certify
from afterkernel.svm.estimator import HardMarginSVM

BACKENDS: dict[str, type[Backend]] = members(__name__, Backend)

__all__ = ["BACKENDS", "Backend", "Certificate", "HardMarginSVM", "Solution", "certify"]
