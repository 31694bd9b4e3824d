"""afterkernel: the kernels that neural networks learn, computed, judged and compared.

The source is P. M. Long, "Properties of the After Kernel", arXiv 2105.10585. This module needs torch and numpy alone;
what needs more is imported where it is used.
"""

from afterkernel import models, transforms
from afterkernel.errors import UserError
from afterkernel.kernels import conjugate_kernel, ntk
from afterkernel.measures import alignment, cka, effective_rank, kernel_distance, spectrum, target_alignment
from afterkernel.measures import model_invariance as invariance
from afterkernel.store import results
from afterkernel.svm import HardMarginSVM, KernelRidge, MinimumNormInterpolator, OneVsRestSVM, SoftMarginPath

__version__ = "0.1.0"

__all__ = [
    "HardMarginSVM",
    "KernelRidge",
    "MinimumNormInterpolator",
    "OneVsRestSVM",
    "SoftMarginPath",
    "UserError",
    "alignment",
    "cka",
    "conjugate_kernel",
    "effective_rank",
    "invariance",
    "kernel_distance",
    "models",
    "ntk",
    "results",
    "spectrum",
    "target_alignment",
    "transforms",
]
