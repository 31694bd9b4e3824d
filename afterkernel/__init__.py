"""afterkernel: computes, evaluates and compares the kernels that neural networks learn.

The source is P. M. Long, "Properties of the After Kernel", arXiv 2105.10585. Importing it needs only torch and numpy;
other packages are imported where they are used. Names are resolved on first use, so that the command line can
start without importing torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from afterkernel import kernels, models, transforms
    from afterkernel.errors import PrecisionWarning, UserError
    from afterkernel.kernels import conjugate_kernel, ntk, ntk_operator, sketch
    from afterkernel.measures import (
        alignment,
        cka,
        effective_rank,
        kernel_distance,
        normalise,
        spectrum,
        target_alignment,
    )
    from afterkernel.measures import model_invariance as invariance
    from afterkernel.records import results, sql
    from afterkernel.runs.lightning_callback import KernelSnapshot
    from afterkernel.runs.recorder import Recorder
    from afterkernel.runs.saved_grams import saved_grams
    from afterkernel.runs.transformers_callback import TransformersKernelSnapshot
    from afterkernel.svm import HardMarginSVM, KernelRidge, MinimumNormInterpolator, OneVsRestSVM, SoftMarginPath

__version__ = "0.1.0"

__all__ = [
    "HardMarginSVM",
    "KernelRidge",
    "KernelSnapshot",
    "MinimumNormInterpolator",
    "OneVsRestSVM",
    "PrecisionWarning",
    "Recorder",
    "SoftMarginPath",
    "TransformersKernelSnapshot",
    "UserError",
    "alignment",
    "cka",
    "conjugate_kernel",
    "effective_rank",
    "invariance",
    "kernel_distance",
    "kernels",
    "models",
    "normalise",
    "ntk",
    "ntk_operator",
    "results",
    "saved_grams",
    "sketch",
    "spectrum",
    "sql",
    "target_alignment",
    "transforms",
]

_MODULES = ("kernels", "models", "transforms")
_HOMES = {
    "errors": ("PrecisionWarning", "UserError"),
    "kernels": ("conjugate_kernel", "ntk", "ntk_operator", "sketch"),
    "measures": (
        *("alignment", "cka", "effective_rank", "invariance", "kernel_distance", "normalise", "spectrum"),
        "target_alignment",
    ),
    "records": ("results", "sql"),
    "runs.lightning_callback": ("KernelSnapshot",),
    "runs.recorder": ("Recorder",),
    "runs.transformers_callback": ("TransformersKernelSnapshot",),
    "runs.saved_grams": ("saved_grams",),
    "svm": ("HardMarginSVM", "KernelRidge", "MinimumNormInterpolator", "OneVsRestSVM", "SoftMarginPath"),
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"afterkernel.{name}")
    for home, names in _HOMES.items():
        if name in names:
            found = getattr(importlib.import_module(f"afterkernel.{home}"), _RENAMED.get(name, name))
            globals()[name] = found
            return found
    raise AttributeError(f"module 'afterkernel' has no attribute {name!r}")


_RENAMED = {"invariance": "model_invariance"}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
