"""Checks of the arguments of public functions: a module, and tensors of samples that it accepts."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from numbers import Real
from typing import Any

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels.protocols import Embedding
from afterkernel.types import Tensor


def check_arguments(model: object, inputs: Mapping[str, object]) -> None:
    """Raise UserError where the model is not a module, or an input not a tensor with samples as its first dimension."""
    if not isinstance(model, nn.Module):
        raise UserError(f"the first argument is a {type(model).__name__}, not a torch.nn.Module: give model, then x.")
    if not hasattr(model, "_parameters"):  # a traced module has them in another one
        raise UserError(f"the {type(model).__name__} is not initialised: call super().__init__() in its __init__.")
    for name, value in inputs.items():
        if not isinstance(value, Tensor):
            raise UserError(f"{name} is a {type(value).__name__}, not a torch tensor: convert it with torch.as_tensor.")
        if value.ndim == 0:
            raise UserError(f"{name} is a single number: its first dimension must be the sample.")
        if value.is_nested or value.layout != torch.strided:
            raise UserError(f"{name} is not a dense tensor: convert it by {name}.{_TO_DENSE[value.is_nested]}.")
        if value.is_meta:
            raise UserError(f"{name} is on the device meta, which holds no numbers: give it on a real device.")


_TO_DENSE = {False: "to_dense()", True: "to_padded_tensor(0.0)"}


def check_options(budget_bytes: Any, store: Any = None) -> None:
    """Raise UserError where the memory budget is not a number of bytes, or the store not the name of a folder."""
    if isinstance(budget_bytes, bool) or not isinstance(budget_bytes, Real) or not math.isfinite(budget_bytes):
        raise UserError(f"budget_bytes={budget_bytes!r} is not a number of bytes: give an integer, such as 2**30.")
    if store is None:
        return
    if not isinstance(store, (str, os.PathLike)) or not str(store).strip() or "\0" in str(store):
        raise UserError(f"store={store!r} is not the name of a folder: give a string or a pathlib.Path.")


def check_types(phi: Embedding, inputs: Mapping[str, Tensor]) -> None:
    """Raise UserError where the model does not take whole numbers (tokens may be such, images may not), or does not
    take y, of other shape than x.
    """
    for name, value in inputs.items():
        unlike = value.shape[1:] != next(iter(inputs.values())).shape[1:]
        if (value.is_floating_point() and not unlike) or len(value) == 0:
            continue
        try:
            with torch.no_grad():
                phi.model(value[:1].to(phi.device))
        except Exception as error:  # of the user's own forward
            cause = error.__cause__ or error
            reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
            fault, cure = f"is of {value.dtype}", f"give it floats, such as {name}.float() / 255 for pixels"
            if value.is_floating_point():
                fault, cure = f"has samples of shape {tuple(value.shape[1:])}", "give samples like those of x"
            raise UserError(f"{name} {fault}, which the model does not take ({reason}): {cure}.") from error


def check_images(x: Tensor) -> None:
    """Raise UserError where x is not a batch of images (n, c, h, w) of floats."""
    if x.ndim != 4:
        raise UserError(f"x has shape {tuple(x.shape)}: images are (n, c, h, w).")
    if not x.is_floating_point():
        raise UserError(f"x is of {x.dtype}: give images as floats, such as x.float() / 255 for pixels.")
    if not bool(torch.isfinite(x).all()):
        raise UserError("x holds NaN or infinity: every pixel must be finite.")


def place_of(model: nn.Module, x: Tensor, device: str | torch.device | None = None) -> str | torch.device:
    """The device to compute on: the model's own unless one is named. Raises UserError if there is no such device."""
    if device is None:
        first = next(model.parameters(), None)
        if first is not None and first.is_meta:
            raise UserError("the model is on the device meta, which holds no numbers: load its weights first.")
        return first.device if first is not None else x.device
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UserError(f'device={device!r} is not known: give "cpu", "cuda" or "cuda:0", or leave it out.') from error
    try:
        torch.zeros(1, device=place).item()
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        raise UserError(f'device={str(place)!r} can\'t be computed on here: use device="cpu".') from error
    return device
