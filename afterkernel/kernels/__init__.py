"""Kernels of networks: gradients collected layer by layer, and their Gram matrices in bounded memory."""

from afterkernel.kernels.embedding import Embedding, embedding
from afterkernel.kernels.gram import Grams, cross_grams, paired_products, train_test_grams, train_test_plan
from afterkernel.kernels.ntk import KernelDetails, conjugate_kernel, conjugate_layer, layer_ntks, ntk, paired_ntk
from afterkernel.kernels.operator import NTKOperator, ntk_operator
from afterkernel.kernels.plan import DEFAULT_BUDGET_BYTES, Plan
from afterkernel.kernels.sample_sources import samples
from afterkernel.kernels.samples import Samples
from afterkernel.kernels.sketch import Sketch, sketch

__all__ = [
    "DEFAULT_BUDGET_BYTES",
    "Embedding",
    "Grams",
    "KernelDetails",
    "NTKOperator",
    "Plan",
    "Samples",
    "Sketch",
    "conjugate_kernel",
    "conjugate_layer",
    "cross_grams",
    "embedding",
    "layer_ntks",
    "ntk",
    "ntk_operator",
    "paired_ntk",
    "paired_products",
    "samples",
    "sketch",
    "train_test_grams",
    "train_test_plan",
]
