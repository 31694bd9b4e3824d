"""What the public functions do with their arguments: batches of samples, and the model's embedding."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from afterkernel.errors import NotFiniteError, UserError
from afterkernel.kernels.embedding import Embedding, embedding
from afterkernel.kernels.inputs import check_alike, check_model, check_types, place_of
from afterkernel.kernels.precision import precision
from afterkernel.kernels.sample_sources import Inputs, samples
from afterkernel.kernels.samples import FINGERPRINTED, Batch, Forward, named_tensors


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


@contextlib.contextmanager
def blamed_on(inputs: Mapping[str, Batch]) -> Iterator[None]:
    """Where an embedding is not finite since an input is not, raise a UserError that names the input.

    The inputs are read only then: a model may replace missing numbers itself.
    """
    try:
        yield
    except NotFiniteError as error:
        for name, batch in inputs.items():
            if (found := _not_finite(name, batch)) is not None:
                what = str(error).partition(": ")[0]
                raise UserError(f"{found}, and so {what}: give finite numbers.") from error
        raise


def _not_finite(name: str, batch: Batch) -> str | None:
    """Which tensor and sample of the inputs first hold NaN or infinity, if any does."""
    for start in range(0, len(batch), FINGERPRINTED):
        for place, tensor in named_tensors(batch[start : start + FINGERPRINTED], name).items():
            bad = (~torch.isfinite(tensor)).reshape(len(tensor), -1).any(dim=1)
            if bool(bad.any()):
                return f"{place} holds NaN or infinity in sample {start + int(bad.nonzero()[0])}"
    return None
