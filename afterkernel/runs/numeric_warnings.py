"""Warnings about the numerical quality of a kernel and its SVM; they are stored in the record."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from afterkernel.errors import PrecisionWarning
from afterkernel.svm import HardMarginSVM, Outcome
from afterkernel.svm.copies import copied_samples
from afterkernel.types import Float, Int, Tensor

# The largest difference from products in float64, relative to the largest entry, that rounding in each precision
# explains, with some room: float32 has 24 bits, TF32 and bfloat16 have 11 and 8, two TF32 numbers 22.
KERNEL_ERRORS = {"float64": 1e-11, "float32": 1e-5, "tf32": 1e-2, "tf32x3": 2e-6, "bf16": 5e-2}


def of_kernel(K: Float[Tensor, "n n"], error: float | None, dtype: str) -> list[str]:
    """Warnings about a Gram matrix: images whose embedding is zero, and an error larger than rounding explains."""
    found = []
    if zero := int((K.diagonal() <= 0).sum()):
        found.append(f"{zero} of {len(K)} training images have an embedding of zero")
    if error is not None and not error <= KERNEL_ERRORS[dtype]:
        limit = KERNEL_ERRORS[dtype]
        found.append(f"kernel_error is {error:.1e}, above the {limit:.0e} that rounding in {dtype} explains")
    return found


def of_copies(K: Float[Tensor, "n n"], y: Int[Tensor, " n"]) -> list[str]:
    """A warning that explains why a kernel does not separate the classes: images of several with one embedding."""
    number = int(copied_samples(K, y).sum())
    same = "have the embedding of an image of another class, or a multiple of it, to the precision of the kernel"
    return [f"{number} of {len(K)} training images {same}"] if number else []


def of_svm(svm: HardMarginSVM, tol: float) -> list[str]:
    """Warnings about a fitted SVM: no hard margin, a projected kernel, or a gap above its tolerance."""
    outcome = svm.outcome_
    found = [] if outcome in (Outcome.CONVERGED, Outcome.NOT_CONVERGED) else [outcome.message]
    if svm.projected_eigenvalue_ is not None:
        found.append(
            f"the kernel is indefinite (smallest eigenvalue {svm.projected_eigenvalue_:.3g}) and was projected"
        )
    if not outcome.converged:
        judged = svm.soft_certificate_ or svm.certificate_
        found.append(f"the SVM did not converge: its relative duality gap is {judged.gap:.1e}, above svm.tol={tol:g}")
    return found


@contextmanager
def python_warnings(found: list[str]) -> Iterator[None]:
    """Add the Python warnings raised within the block to `found`, each once; they are still shown."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PrecisionWarning)  # recorded even if a filter hides them
        yield
    for warning in caught:
        lines = str(warning.message).strip().splitlines() or [""]
        text = f"{warning.category.__name__}: {lines[0]}"
        if text not in found:
            found.append(text)
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
