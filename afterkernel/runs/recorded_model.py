"""The model of a user's training loop: read without changing it or the training."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels.working_copy import WorkingCopy
from afterkernel.types import Float, Tensor

Forward = Callable[[nn.Module, Tensor], Any]


def unwrapped(model: nn.Module) -> nn.Module:
    """The model within wrappers of torch that only change how it is run."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):  # of torch.compile
            model = inner
        else:
            return model


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 (hex) of all tensors of the model's state: of each its name, data type, shape and bytes."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, Tensor):
            found.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
            found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def with_one_logit(model: nn.Module, samples: Tensor, forward: Forward | None, place: torch.device) -> nn.Module:
    """A network with one logit per sample, that of class 1: the model, or a module that holds it.

    `forward` is a function of model and samples to its output, by default the call of the model. Of an output with
    logits, these are used; of two logits their difference, whose logistic function is the softmax of class 1. Raises
    UserError for any other output.
    """
    wrapped = OneLogit(model, forward)
    if forward is not None:
        return wrapped
    output = copy_to_run(model, place)(samples[:2])
    if isinstance(output, Tensor) and output.shape in ((len(samples[:2]),), (len(samples[:2]), 1)):
        return model
    one_logit(output)
    return wrapped


class OneLogit(nn.Module):
    """A model of any output as a network with one logit per sample."""

    def __init__(self, model: nn.Module, function: Forward | None) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, x: Tensor) -> Float[Tensor, " n"]:
        """The logit of each sample."""
        return one_logit(self.model(x) if self.function is None else self.function(self.model, x))


def one_logit(output: Any) -> Float[Tensor, " n"]:
    """The logit of class 1 of each sample. Raises UserError for an output of neither one nor two logits."""
    if isinstance(output, Mapping):
        output = output.get("logits")
    elif not isinstance(output, Tensor):
        output = getattr(output, "logits", None)
    if not isinstance(output, Tensor):
        raise UserError(
            "the model's output holds no tensor of logits: give forward=, a function of the model and the samples that "
            "returns one logit, or two, for each sample."
        )
    if output.ndim == 1:
        return output
    if output.ndim != 2 or output.shape[1] not in (1, 2):
        raise UserError(
            f"the model's output has shape {tuple(output.shape)}, and a Recorder takes one or two logits for each "
            "sample: give forward=, a function of the model and the samples that returns these."
        )
    return output[:, 0] if output.shape[1] == 1 else output[:, 1] - output[:, 0]


def copy_to_run(network: nn.Module, place: torch.device) -> nn.Module:
    """A copy that shares the weights and is run in evaluation mode, in float32 or the network's float64."""
    double = any(value.dtype == torch.float64 for value in network.parameters())
    return WorkingCopy(network, torch.float64 if double else torch.float32, place)


@contextlib.contextmanager
def undisturbed(place: torch.device) -> Iterator[None]:
    """Leave random numbers as they were, and compute without the caller's autocast and inference mode."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        for kind in {"cpu", place.type}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        try:
            yield
        finally:
            torch.set_rng_state(before[0])
            np.random.set_state(before[1])
            random.setstate(before[2])
            if cuda is not None:
                torch.cuda.set_rng_state_all(cuda)
