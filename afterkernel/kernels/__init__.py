"""Kernels of networks: embeddings, and Gram matrices in bounded memory."""

from afterkernel.kernels.embedding import KERNELS, Embedding, embedding
from afterkernel.kernels.gram import (
    DEFAULT_BUDGET_BYTES,
    conjugate_kernel,
    ntk,
    train_test_grams,
    train_test_plan,
)
from afterkernel.kernels.plan import Plan

__all__ = [
    "DEFAULT_BUDGET_BYTES",
    "KERNELS",
    "Embedding",
    "Plan",
    "conjugate_kernel",
    "embedding",
    "ntk",
    "train_test_grams",
    "train_test_plan",
]
