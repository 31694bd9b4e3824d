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


def check_single_process() -> None:
    """Raise UserError in a training of several processes, among which the kernels would be divided."""
    together = torch.distributed
    if together.is_available() and together.is_initialized() and together.get_world_size() > 1:
        raise UserError(
            f"the training runs in {together.get_world_size()} processes, and a Recorder works in a training of one: "
            "train on a single device, or record from saved weights in a process of its own."
        )


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


def with_logits(
    model: nn.Module, samples: Tensor, n_outputs: int, forward: Forward | None, place: torch.device
) -> nn.Module:
    """A network with `n_outputs` logits per sample: the model, or a module that holds it.

    `forward` is a function of model and samples to its output, by default the call of the model. Of an output with
    logits, these are used; where one is wanted, that of class 1, two are taken for their difference, whose logistic
    function is the softmax of class 1. Raises UserError for any other output.
    """
    wrapped = Logits(model, forward, n_outputs)
    if forward is not None:
        return wrapped
    few = samples[:2]
    output = copy_to_run(model, place)(few)
    if isinstance(output, Tensor) and output.shape in ((len(few), n_outputs), (len(few),) * (n_outputs == 1)):
        return model
    logits_of(output, n_outputs)
    return wrapped


class Logits(nn.Module):
    """A model of any output as a network with `n_outputs` logits per sample."""

    def __init__(self, model: nn.Module, function: Forward | None, n_outputs: int) -> None:
        super().__init__()
        self.model, self.function, self.n_outputs = model, function, n_outputs

    def forward(self, x: Tensor) -> Float[Tensor, "n ..."]:
        """The logits of each sample, (n,) where it is one."""
        output = self.model(x) if self.function is None else self.function(self.model, x)
        return logits_of(output, self.n_outputs)


def logits_of(output: Any, n_outputs: int) -> Float[Tensor, "n ..."]:
    """The logits (n, n_outputs), or (n,) of class 1 for one. Raises UserError for an output of another number."""
    if isinstance(output, Mapping):
        output = output.get("logits")
    elif not isinstance(output, Tensor):
        output = getattr(output, "logits", None)
    number = "one or two logits" if n_outputs == 1 else f"{n_outputs} logits, one for each class,"
    cure = "give forward=, a function of the model and the samples that returns these"
    if not isinstance(output, Tensor):
        raise UserError(f"the model's output holds no tensor of logits: {number} are needed for each sample; {cure}.")
    if n_outputs == 1 and output.ndim == 1:
        return output
    if output.ndim != 2 or output.shape[1] not in ((1, 2) if n_outputs == 1 else (n_outputs,)):
        raise UserError(
            f"the model's output has shape {tuple(output.shape)}, and {number} are needed for each sample: {cure}."
        )
    if n_outputs > 1:
        return output
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
