"""Labels as vectors: the kernel that they define, and the directions in which they lie."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from afterkernel.errors import UserError
from afterkernel.measures.matrices import check_tensor
from afterkernel.svm.checks import check_labels
from afterkernel.types import Float, Tensor


def class_targets(y: Tensor, K: Float[Tensor, "n n"], n_classes: int | None = None) -> Float[Tensor, "n d"]:
    """Unit vectors Y (n, d) of the classes, float64: y in {-1, +1} for two, the corners of a regular simplex for more.

    Y Y' is the kernel that labels define: 1 for two images of one class, and -1 / (c - 1) for images of different
    classes, c the number of classes. For two classes it is yy'; centred, it is c / (c - 1) times the centred
    class-indicator kernel. y: (n,) in {0, ..., c - 1}; without n_classes = c each of more than two classes must occur.
    Raises UserError for other labels.
    """
    check_tensor("y", y)
    found = torch.unique(y).tolist()
    count = n_classes or max(2, len(found))
    if count == 2:
        return check_labels(y, K, both_classes=False)[:, None]
    if y.shape != K.shape[:1]:
        raise UserError(f"y has shape {tuple(y.shape)}: K has {len(K)} samples, so y must have shape ({len(K)},).")
    allowed = set(range(count))
    if not set(found) <= allowed:
        shown = f"{', '.join(map(str, found[:5]))}{', ...' if len(found) > 5 else ''}"
        raise UserError(f"y holds the labels {shown}: labels of {count} classes must be 0, ..., {count - 1}.")
    one_hot = F.one_hot(y.to(device=K.device, dtype=torch.int64), count).to(torch.float64)
    return math.sqrt(count / (count - 1)) * (one_hot - 1 / count)
