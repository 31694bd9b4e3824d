"""Samples that a kernel can't tell from one of another class."""

from __future__ import annotations

import torch

from afterkernel.svm.definite import as_formed
from afterkernel.svm.signed_gram import ENTRIES_AT_ONCE, PRECISION
from afterkernel.types import Bool, Float, Int, Tensor

# A cosine may be off by the precision of K through K_ij, and by half of that through each of K_ii and K_jj.
_ROUNDINGS = 2


def copied_samples(K: Float[Tensor, "n n"], y: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Which embeddings have, to the precision of K, the direction of one with another label.

    The SVM has no hard margin then, or one below the precision of K: 1 - K_ij / (|phi_i| |phi_j|) <= 2 eps, with eps
    from `afterkernel.svm.signed_gram.PRECISION`. Embeddings of zero are left out.
    """
    lengths = K.diagonal().to(torch.float64).clamp_min(0).sqrt()
    inverse = torch.where(lengths > 0, 1 / lengths, 0)
    bound = 1 - _ROUNDINGS * PRECISION[as_formed(K).dtype]
    copied = torch.zeros(len(K), dtype=torch.bool, device=K.device)
    size = max(1, ENTRIES_AT_ONCE[K.device.type] // len(K))
    for rows in torch.split(torch.arange(len(K), device=K.device), size):
        cosines = K[rows].to(torch.float64) * inverse[rows, None] * inverse
        copied[rows] = ((cosines >= bound) & (y[rows, None] != y)).any(dim=1)
    return copied
