"""Checks of the arguments of public functions: a module, and samples that it accepts."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from numbers import Real
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from afterkernel.errors import UserError
from afterkernel.kernels.protocols import Embedding
from afterkernel.kernels.samples import Batch, Samples, named_tensors, placed
from afterkernel.text import a_kind
from afterkernel.types import Tensor


def check_model(model: object) -> None:
    """Raise UserError where the model is not a module."""
    if not isinstance(model, nn.Module):
        cure = "give model, then x"
        if isinstance(model, Mapping):
            cure = "build the network, load the weights by network.load_state_dict(...), and give the network"
        raise UserError(f"the first argument is {a_kind(model)}, not a torch.nn.Module: {cure}.")
    if not hasattr(model, "_parameters"):  # a traced module has them in another one
        raise UserError(f"the {type(model).__name__} is not initialised: call super().__init__() in its __init__.")


def check_options(budget_bytes: Any, store: Any = None) -> None:
    """Raise UserError where the memory budget is not a number of bytes, or the store not the name of a folder."""
    if isinstance(budget_bytes, bool) or not isinstance(budget_bytes, Real) or not math.isfinite(budget_bytes):
        raise UserError(f"budget_bytes={budget_bytes!r} is not a number of bytes: give an integer, such as 2**30.")
    if store is None:
        return
    if not isinstance(store, (str, os.PathLike)) or not str(store).strip() or "\0" in str(store):
        raise UserError(f"store={store!r} is not the name of a folder: give a string or a pathlib.Path.")


def check_types(phi: Embedding, inputs: Mapping[str, Batch]) -> None:
    """Raise UserError where the model does not take whole numbers (tokens may be such, images may not), or does not
    take y, of other shape than x.
    """
    first = _shapes(next(iter(inputs.values())))
    for name, value in inputs.items():
        unlike = _shapes(value) != first
        floats = isinstance(value, Samples) or value.is_floating_point()
        if (floats and not unlike) or len(value) == 0:
            continue
        try:
            with torch.no_grad():
                phi.model(tree_map(lambda leaf: placed(leaf, phi.device, phi.dtype), value[:1]))
        except Exception as error:  # of the user's own forward
            cause = error.__cause__ or error
            reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
            if isinstance(value, Samples) or value.is_floating_point():
                shapes = list(_shapes(value).values())
                fault, cure = f"has samples of shape {', '.join(map(str, shapes))}", "give samples like those of x"
            else:
                fault, cure = f"is of {value.dtype}", f"give it floats, such as {name}.float() / 255 for pixels"
            raise UserError(f"{name} {fault}, which the model does not take ({reason}): {cure}.") from error


def check_alike(x: Batch, y: Batch) -> None:
    """Raise UserError where the model would be called with y in another way than with x."""
    mine, theirs = list(named_tensors(x, "")), list(named_tensors(y, ""))
    if mine != theirs:
        raise UserError(
            f"x holds {', '.join(f'x{place}' for place in mine)} and y {', '.join(f'y{place}' for place in theirs)}: "
            "give y in the structure of x."
        )


def _shapes(x: Batch) -> dict[str, tuple[int, ...]]:
    """The shape of a sample, by the tensors of its tree."""
    return {name: tuple(leaf.shape[1:]) for name, leaf in named_tensors(x, "").items()}


def check_images(x: Batch) -> Tensor:
    """The batch as images (n, c, h, w) of floats. Raises UserError where it is not that."""
    if isinstance(x, Samples):
        raise UserError(f"x is {a_kind(x.tree)}: images are one tensor (n, c, h, w).")
    if x.ndim != 4:
        raise UserError(f"x has shape {tuple(x.shape)}: images are (n, c, h, w).")
    if not x.is_floating_point():
        raise UserError(f"x is of {x.dtype}: give images as floats, such as x.float() / 255 for pixels.")
    if not bool(torch.isfinite(x).all()):
        raise UserError("x holds NaN or infinity: every pixel must be finite.")
    return x


def place_of(model: nn.Module, x: Batch, device: str | torch.device | None = None) -> str | torch.device:
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
