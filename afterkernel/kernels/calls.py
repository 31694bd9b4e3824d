"""What the public functions do with their arguments: batches of samples, and the model's embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from afterkernel.kernels.embedding import Embedding, embedding
from afterkernel.kernels.inputs import check_alike, check_model, check_types, place_of
from afterkernel.kernels.precision import precision
from afterkernel.kernels.sample_sources import Inputs, samples
from afterkernel.kernels.samples import Batch, Forward


def batches_of(model: nn.Module, x: Inputs, y: Inputs | None, forward: Forward | None) -> dict[str, Batch]:
    """The arguments x and, if given, y as batches of samples. Raises UserError for what is no model or no samples."""
    check_model(model)
    inputs = {"x": samples(x, forward)}
    if y is not None:
        inputs["y"] = samples(y, forward, "y")
        check_alike(inputs["x"], inputs["y"])
    return inputs


def network_embedding(
    kernel: str,
    model: nn.Module,
    inputs: Mapping[str, Batch],
    dtype: torch.dtype | str,
    device: str | torch.device | None,
    **chosen: Any,
) -> Embedding:
    """The model's embedding, checked to take the inputs; `chosen` are its further options."""
    place = place_of(model, inputs["x"], device)
    phi = embedding(model, kernel, dtype=precision(dtype).dtype, device=place, **chosen)
    check_types(phi, inputs)
    return phi
