"""Finds out which of a user's forward hooks a copy of the model needs.

Rule: a hook fires on the copy only if without it the outputs, or the parameters that they depend on, would be others.
Backward hooks, tensor hooks and state-dict hooks never do: a kernel is made of the derivatives of the outputs. To find
out, copies of the forward hooks (of what their closures hold and their global names mean, too) are run once
on a few samples, with nothing printed.
"""

from __future__ import annotations

import contextlib
import io
import types
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.nn.modules import module as hooks_of_all_modules
from torch.utils._pytree import tree_leaves

from afterkernel.kernels.module_copy import ModuleCopier
from afterkernel.types import Tensor


@dataclass
class Hook:
    """A forward hook or pre-hook of one module, or of all where `module` is None; what it was seen to do."""

    module: nn.Module | None
    place: str
    key: int
    function: Callable[..., Any]
    with_kwargs: bool
    replaces: bool = field(default=False, init=False)
    assigns: bool = field(default=False, init=False)


def forward_hooks(model: nn.Module) -> list[Hook]:
    """The forward hooks and pre-hooks that fire when a model is called."""
    held = vars(hooks_of_all_modules)
    found = [
        Hook(None, place, key, function, key in held.get(f"_global{place}_with_kwargs", ()))
        for place in ("_forward_pre_hooks", "_forward_hooks")
        for key, function in held[f"_global{place}"].items()
    ]
    for module in model.modules():
        for place in ("_forward_pre_hooks", "_forward_hooks"):
            with_kwargs = getattr(module, f"{place}_with_kwargs", ())
            found += [
                Hook(module, place, key, function, key in with_kwargs)
                for key, function in module.__dict__.get(place, {}).items()
            ]
    return found


def install(hooks: Sequence[Hook], copier: ModuleCopier, *, watched: bool = False) -> None:
    """Put copies of the hooks on the modules that a copier made, in place of those that are there."""
    for module in copier.modules:
        for place in ("_forward_pre_hooks", "_forward_hooks"):
            module.__dict__.setdefault(place, OrderedDict()).clear()
    for hook in hooks:
        function = _copied(hook.function, copier)
        wrapped = _Watched(function, hook) if watched else function
        for module in copier.modules if hook.module is None else [copier(hook.module)]:
            module.__dict__[hook.place][hook.key] = wrapped
            if hook.with_kwargs:
                module.__dict__[f"{hook.place}_with_kwargs"][hook.key] = True


def needed_hooks(hooks: Sequence[Hook], run: Callable[[Sequence[Hook], bool], Any]) -> list[Hook]:
    """The fewest hooks with which `run(hooks, watched)` gives what it gives with all of them.

    `run` installs the hooks and gives something comparable.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        expected = run(hooks, True)
        for chosen in (
            [],
            [hook for hook in hooks if hook.replaces],
            [hook for hook in hooks if hook.replaces or hook.assigns],
        ):
            if len(chosen) < len(hooks) and run(chosen, False) == expected:
                return list(chosen)
    return list(hooks)


class _Watched:
    """A hook that notes whether it replaces or changes values, or assigns attributes of its module."""

    def __init__(self, function: Callable[..., Any], hook: Hook) -> None:
        self._function, self._hook = function, hook

    def __call__(self, module: nn.Module, *args: Any) -> Any:
        tensors = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
        versions = [tensor._version for tensor in tensors]
        before = _attributes(module)
        result = self._function(module, *args)
        after = _attributes(module)
        self._hook.replaces |= result is not None or versions != [tensor._version for tensor in tensors]
        self._hook.assigns |= before.keys() != after.keys() or any(before[name] is not after[name] for name in before)
        return result


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {**module.__dict__, **module._parameters, **module._buffers}


def _copied(function: Callable[..., Any], copier: ModuleCopier) -> Callable[..., Any]:
    """A hook that keeps what it notes to itself."""
    if not isinstance(function, types.FunctionType):
        copied: Callable[..., Any] = copier(function)
        return copied
    scope = dict(function.__globals__)
    isolated: Callable[..., Any] = copier.function(function, scope)
    for name in _names(function.__code__) & scope.keys():
        scope[name] = copier(scope[name])
    return isolated


def _names(code: types.CodeType) -> set[str]:
    inner = [_names(part) for part in code.co_consts if isinstance(part, types.CodeType)]
    return set(code.co_names).union(*inner)
