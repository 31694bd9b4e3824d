"""What a library user hands over: a module and tensors of samples that it takes, or one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.types import Tensor


@runtime_checkable
class Placed(Protocol):
    """A model on its device."""

    @property
    def model(self) -> nn.Module:
        """The model."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...


def check_arguments(model: object, inputs: Mapping[str, object]) -> None:
    """Raise UserError where the model is not a module, or an input not a tensor with samples as its first dimension."""
    if not isinstance(model, nn.Module):
        raise UserError(f"the first argument is a {type(model).__name__}, not a torch.nn.Module: give model, then x.")
    for name, value in inputs.items():
        if not isinstance(value, Tensor):
            raise UserError(f"{name} is a {type(value).__name__}, not a torch tensor: convert it by torch.as_tensor.")
        if value.ndim == 0:
            raise UserError(f"{name} is a single number: its first dimension must be the sample.")


def check_types(phi: Placed, inputs: Mapping[str, Tensor]) -> None:
    """Raise UserError where the model does not take whole numbers: tokens may be such, images may not."""
    for name, value in inputs.items():
        if value.is_floating_point() or len(value) == 0:
            continue
        try:
            with torch.no_grad():
                phi.model(value[:1].to(phi.device))
        except (RuntimeError, TypeError, UserError) as error:
            cause = error.__cause__ or error
            reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
            raise UserError(
                f"{name} is of {value.dtype}, which the model does not take ({reason}): give it floats, such as "
                f"{name}.float() / 255 for pixels."
            ) from error


def check_images(x: Tensor) -> None:
    """Raise UserError where x is not a batch of images (n, c, h, w) of floats."""
    if x.ndim != 4:
        raise UserError(f"x has shape {tuple(x.shape)}: images are (n, c, h, w).")
    if not x.is_floating_point():
        raise UserError(f"x is of {x.dtype}: give images as floats, such as x.float() / 255 for pixels.")


def place_of(model: nn.Module, x: Tensor, device: str | torch.device | None = None) -> str | torch.device:
    """The device to compute on: the model's own unless one is named."""
    if device is not None:
        return device
    first = next(model.parameters(), None)
    return first.device if first is not None else x.device
