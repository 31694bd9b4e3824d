"""Cross-entropy and errors of logits: one logit for two classes, one for each of several."""

from __future__ import annotations

import torch.nn.functional as F

from afterkernel.errors import UserError
from afterkernel.types import Bool, Float, Int, Tensor


def cross_entropy(logits: Float[Tensor, "n ..."], labels: Int[Tensor, " n"], n_outputs: int) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats: of the logistic function of one logit (n,), of the softmax of several (n, k).

    Raises UserError for logits of another shape.
    """
    _check(logits, labels, n_outputs)
    if n_outputs == 1:
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    return F.cross_entropy(logits, labels)


def cross_entropies(logits: Float[Tensor, "n ..."], labels: Int[Tensor, " n"], n_outputs: int) -> Float[Tensor, " n"]:
    """The terms of `cross_entropy`, image by image; none is negative."""
    _check(logits, labels, n_outputs)
    if n_outputs == 1:
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
    return F.cross_entropy(logits, labels, reduction="none")


def is_wrong(logits: Float[Tensor, "n ..."], labels: Int[Tensor, " n"], n_outputs: int) -> Bool[Tensor, " n"]:
    """Whether each answer is wrong: one logit is thresholded at 0, of several the largest counts, the first if equal.

    Raises UserError for logits of another shape.
    """
    _check(logits, labels, n_outputs)
    return (logits > 0) != (labels > 0) if n_outputs == 1 else logits.argmax(1) != labels


def _check(logits: Tensor, labels: Tensor, n_outputs: int) -> None:
    wanted = (len(labels),) if n_outputs == 1 else (len(labels), n_outputs)
    if logits.shape != wanted:
        raise UserError(
            f"the network gives logits of shape {tuple(logits.shape)} for {len(labels)} images: they must have shape "
            f"{wanted}, by self.n_outputs of the architecture."
        )
