"""A forward pass that neither changes global state nor depends on it: random numbers, hooks, precision, checkpoints."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch.nn.modules import module as hooks_of_all_modules
from torch.overrides import TorchFunctionMode

from afterkernel.types import Tensor

_GLOBAL_HOOKS = (
    "_global_forward_pre_hooks",
    "_global_forward_hooks",
    "_global_backward_pre_hooks",
    "_global_backward_hooks",
)


class PrivateRandomness:
    """Random numbers of its own: within the context the generators continue where the last context ended.

    They start from the state of the user's generators (torch, numpy, random), which are restored after
    the context.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        self._own: Any = None

    def _state(self) -> Any:
        cuda = torch.cuda.get_rng_state(self._cuda) if self._cuda is not None else None
        return torch.get_rng_state(), cuda, np.random.get_state(), random.getstate()

    def _set(self, state: Any) -> None:
        cpu, cuda, of_numpy, of_python = state
        torch.set_rng_state(cpu)
        if cuda is not None and self._cuda is not None:
            torch.cuda.set_rng_state(cuda, self._cuda)
        np.random.set_state(of_numpy)
        random.setstate(of_python)

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Enter the context."""
        users = self._state()
        if self._own is not None:
            self._set(self._own)
        try:
            yield
        finally:
            self._own = self._state()
            self._set(users)


class _PlainCall:
    """Replaces torch's reentrant checkpoint, which drops the gradient of parameters before the first of them."""

    @staticmethod
    def apply(function: Any, preserve_rng_state: bool, *args: Any) -> Any:  # noqa: ARG004 (torch's signature)
        return function(*args)


def _no_checkpoint(*args: Any, **kwargs: Any) -> Iterator[None]:  # noqa: ARG001 (torch's signature)
    yield


@contextlib.contextmanager
def without_checkpoints() -> Iterator[None]:
    """`torch.utils.checkpoint` calls its function and keeps the activations: same values, and every gradient."""
    place = vars(torch.utils.checkpoint)
    ours = {
        "CheckpointFunction": _PlainCall,
        "_checkpoint_without_reentrant_generator": _no_checkpoint,
        "_checkpoint_without_reentrant_generator_impl": _no_checkpoint,  # its name since torch 2.13
    }
    before = {name: place[name] for name in ours if name in place}
    place.update({name: ours[name] for name in before})
    try:
        yield
    finally:
        place.update(before)


@contextlib.contextmanager
def without_global_hooks() -> Iterator[None]:
    """Hooks of all modules (`torch.nn.modules.module.register_module_forward_hook` and others) do not fire."""
    held = [vars(hooks_of_all_modules)[name] for name in _GLOBAL_HOOKS]
    before = [dict(hooks) for hooks in held]
    for hooks in held:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, entries in zip(held, before, strict=True):
            hooks.update(entries)


class OneLayout(TorchFunctionMode):
    """Gives the gradient in the result of a batch or instance normalisation the memory layout of its input.

    For a single image torch's CPU kernel mistakes one layout for the other, and its gradients are wrong.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the call, and watch the gradient in its result where it is such a normalisation."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        normalises = func in (F.batch_norm, torch.batch_norm, F.instance_norm, torch.instance_norm)
        if normalises and result.requires_grad and torch._C._functorch.maybe_current_level() is None:
            source = args[0] if args else kwargs["input"]
            # Instance normalisation copies its input to the ordinary layout.
            ordinary = func in (F.instance_norm, torch.instance_norm)
            layout = torch.contiguous_format if ordinary else _layout(source)
            result.register_hook(lambda grad: grad.contiguous(memory_format=layout))
        return result


def _layout(x: Tensor) -> torch.memory_format:
    """The layout that a tensor is read in."""
    kinds = {4: torch.channels_last, 5: torch.channels_last_3d}
    other = kinds.get(x.ndim)
    if other is not None and not x.is_contiguous() and x.is_contiguous(memory_format=other):
        return other
    return torch.contiguous_format


@contextlib.contextmanager
def isolated(device: torch.device, *, moved: bool = False) -> Iterator[None]:
    """Both of the above, with gradients recorded, without the caller's autocast and without compilation.

    Where the model was `moved`, tensors that it makes without naming a device are made on `device`.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(without_checkpoints())
        stack.enter_context(without_global_hooks())
        for kind in {"cpu", device.type}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if moved:
            stack.enter_context(device)
        if "torch._dynamo" in sys.modules:  # else nothing is compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield
