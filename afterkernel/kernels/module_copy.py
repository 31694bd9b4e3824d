"""Copies of a module that share as much as possible with the original: weights are copied only if necessary.

`copy.deepcopy` copies every weight, leaves tensors that are neither parameters nor buffers in their old data type, and
fails on activations, locks, open files and generators that a module holds. Here modules, containers and plain objects
are copied, so that a forward pass of the copy changes nothing of the original; tensors become what a function makes of
them; what cannot be copied is shared.
"""

from __future__ import annotations

import copy
import enum
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from afterkernel.errors import UserError
from afterkernel.types import Tensor

# Attributes of every module that hold hooks. Hooks that change what the model computes are added back by their owner.
FORWARD_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
HOOKS = (
    *FORWARD_HOOKS,
    "_backward_pre_hooks",
    "_backward_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)

_SHARED = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type,
    range,
    enum.Enum,
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
    torch.Size,
    types.ModuleType,
    types.BuiltinFunctionType,
    types.CodeType,
)


class ModuleCopier:
    """Copies modules and everything in them; each object is copied once, so shared parts stay shared.

    `cast` gives the tensor that takes a tensor's place; a parameter's is wrapped in a new parameter. `changeable` holds
    the containers that were copied, `modules` the modules, `tensors` those that took the place of others.
    """

    def __init__(self, cast: Callable[[Tensor], Tensor]) -> None:
        self._cast = cast
        self._copies: dict[int, Any] = {}
        self._originals: list[Any] = []  # kept alive: their ids are keys
        self.changeable: list[list[Any] | dict[Any, Any] | set[Any] | deque[Any]] = []
        self.modules: list[nn.Module] = []
        self.tensors: list[Tensor] = []

    def __call__(self, value: Any) -> Any:
        """The copy of a value, or the value itself where a copy would not differ from it."""
        if isinstance(value, _SHARED):
            return value
        found = self._copies.get(id(value), self)
        return self._new(value) if found is self else found

    def _remember(self, value: Any, new: Any) -> Any:
        self._copies[id(value)] = new
        self._originals.append(value)
        return new

    def _new(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._remember(value, self._tensor(value))
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, torch.Generator):
            generator = torch.Generator(value.device)
            generator.set_state(value.get_state())
            return self._remember(value, generator)
        if isinstance(value, weakref.ref):
            target = value()
            return self._remember(value, weakref.ref(self(target)) if isinstance(target, nn.Module) else value)
        if isinstance(value, types.MethodType):
            return self._remember(value, types.MethodType(value.__func__, self(value.__self__)))
        if isinstance(value, types.FunctionType):
            return self.function(value)
        if type(value) in (list, dict, set, deque, OrderedDict, defaultdict):
            return self._container(value)
        if type(value) in (tuple, frozenset):
            return self._remember(value, type(value)(self(part) for part in value))
        try:
            return self._object(value)
        except Exception:
            return self._remember(value, value)

    def _tensor(self, value: Tensor) -> Tensor:
        new = self._cast(value)
        if isinstance(value, nn.Parameter):
            new = nn.Parameter(new, requires_grad=value.requires_grad)
        elif isinstance(value, nn.Buffer):
            new = nn.Buffer(new, persistent=value.persistent)
        if isinstance(value, (nn.Parameter, nn.Buffer)) and value.__dict__:
            new.__dict__.update({k: v for k, v in value.__dict__.items() if not isinstance(v, Tensor)})
        self.tensors.append(new)
        return new

    def _container(self, value: Any) -> Any:
        new: Any = defaultdict(value.default_factory) if type(value) is defaultdict else type(value)()
        new = deque(maxlen=value.maxlen) if type(value) is deque else new
        self._remember(value, new)
        if isinstance(value, dict):
            new.update({self(key): self(part) for key, part in value.items()})
        elif isinstance(value, set):
            new.update(self(part) for part in value)
        else:
            new.extend(self(part) for part in value)
        self.changeable.append(new)
        return new

    def function(self, value: types.FunctionType, scope: dict[str, Any] | None = None) -> Any:
        """A function whose closure and defaults are copies, or the function itself where it has none that differ.

        `scope` takes the place of its global names.
        """
        cells = value.__closure__ or ()
        if not cells and not value.__defaults__ and not value.__kwdefaults__ and scope is None:
            return value
        new_cells = tuple(types.CellType() for _ in cells)
        names = value.__globals__ if scope is None else scope
        new = types.FunctionType(value.__code__, names, value.__name__, None, new_cells or None)
        self._remember(value, new)
        changed = scope is not None
        for cell, new_cell in zip(cells, new_cells, strict=True):
            try:
                content = cell.cell_contents
            except ValueError:  # still empty
                continue
            new_cell.cell_contents = self(content)
            changed |= new_cell.cell_contents is not content and content is not value
        new.__defaults__ = self(value.__defaults__)
        new.__kwdefaults__ = self(value.__kwdefaults__)
        changed |= any(a is not b for a, b in zip(value.__defaults__ or (), new.__defaults__ or (), strict=True))
        changed |= any((value.__kwdefaults__ or {})[k] is not v for k, v in (new.__kwdefaults__ or {}).items())
        if not changed:
            return self._remember(value, value)
        new.__dict__.update(value.__dict__)
        new.__qualname__, new.__module__ = value.__qualname__, value.__module__
        return new

    def _object(self, value: Any) -> Any:
        if hasattr(value, "__deepcopy__"):
            return self._remember(value, value.__deepcopy__(self._copies))
        reduced = value.__reduce_ex__(4)
        if isinstance(reduced, str):
            return self._remember(value, value)
        make, args, state, items, pairs = (*reduced, None, None, None)[:5]
        new = self._remember(value, make(*(self(arg) for arg in args)))
        if state is not None and hasattr(new, "__setstate__"):
            new.__setstate__(self(state))
        elif state is not None:
            attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
            for name, part in (attributes or {}).items():
                new.__dict__[name] = self(part)
            for name, part in (slots or {}).items():
                setattr(new, name, self(part))
            if attributes:
                self.changeable.append(new.__dict__)
        for part in items or ():
            new.append(self(part))
        for key, part in pairs or ():
            new[self(key)] = self(part)
        return new

    def _module(self, value: nn.Module) -> nn.Module:
        inner = unwrapped(value)
        if inner is not value:
            copied: nn.Module = self._remember(value, self(inner))
            return copied
        if isinstance(value, torch.jit.ScriptModule):
            script: nn.Module = self._remember(value, self._script(value))
            return script
        new: nn.Module = self._remember(value, object.__new__(value.__class__))
        attributes = dict(value.__dict__)
        for name in HOOKS:
            if name in attributes:
                attributes[name] = OrderedDict()
        attributes.pop("_compiled_call_impl", None)
        attributes["training"] = False
        for name, part in attributes.items():
            new.__dict__[name] = part if name in HOOKS else self(part)
        self.modules.append(new)
        return new

    def _script(self, value: torch.jit.ScriptModule) -> nn.Module:
        """Weights of a script live in a compiled object, and are copied."""
        new: nn.Module = copy.deepcopy(value)
        for module in new.modules():
            for part in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
                part.data = self._cast(part)
        for old, part in zip(value.parameters(), new.parameters(), strict=True):
            part.requires_grad_(old.requires_grad)
        return new.eval()


def unwrapped(module: nn.Module) -> nn.Module:
    """The module that a compiled or data-parallel module wraps, which computes the same; else the module itself."""
    inner = getattr(module, "_orig_mod", None)
    if isinstance(inner, nn.Module):
        return inner
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        wrapped: nn.Module = module.module
        return wrapped
    return module


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors that a module holds: parameters, buffers, and other tensor attributes."""
    for prefix, part in module.named_modules():
        start = f"{prefix}." if prefix else ""
        for held in (part._parameters, part._buffers, part.__dict__):
            for name, value in list(held.items()):
                if isinstance(value, Tensor):
                    yield start + name, value


def check_copyable(model: nn.Module) -> None:
    """Raise UserError where parameters have no values to compute with: lazy, meta, or sharded ones."""
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(value):
            raise UserError(
                f"{name!r} of the model is not initialised yet (a lazy module): run the model once on a batch, "
                "such as model(x[:2]), before its kernel is computed."
            )
        if value.is_meta:
            raise UserError(
                f"{name!r} of the model is on the meta device and has no values: load its weights first "
                "(model.to_empty(device=...) and model.load_state_dict(...))."
            )
        if type(value).__name__ in ("DTensor", "FlatParameter") or hasattr(value, "device_mesh"):
            raise UserError(
                f"{name!r} of the model is sharded over processes (FSDP or DTensor): gather the weights "
                "(full_tensor(), or a full state dict) into a plain model first."
            )
