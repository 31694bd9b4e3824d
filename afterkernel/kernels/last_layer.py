"""Which linear layer of a forward pass comes last, found by following data through every operation.

What counts is the operation, not the module's class: `nn.Linear`, `F.linear`, the output projection of attention, and
`h @ weight` by hand are all products with a parameter. A layer comes before another if the other's input depends on its
result; the last one is the one that comes before no other. Dependence is followed through views, in-place operations,
`detach` and `no_grad`, but not through numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from afterkernel.errors import UserError
from afterkernel.kernels.capture import layer_of
from afterkernel.types import Tensor

# Products of two matrices, and the places of these among the arguments.
_PRODUCTS = {
    "mm": (0, 1),
    "mv": (0, 1),
    "dot": (0, 1),
    "bmm": (0, 1),
    "matmul": (0, 1),
    "linear": (0, 1),
    "addmm": (1, 2),
    "addmv": (1, 2),
    "baddbmm": (1, 2),
    "addbmm": (1, 2),
    "_addmm_activation": (1, 2),
}
# A parameter may meet the result of the last layer in these without being a layer itself.
_NO_LAYERS = ("add", "add_", "sub", "sub_", "rsub", "copy_", "_prelu_kernel")
_NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")


@dataclass(frozen=True)
class LayerCall:
    """An operation on data and parameters: its input where it is a linear layer, else None.

    `after` has a bit for each call whose result its operands depend on; `name` is the layer's, or the parameter's where
    no module has it for itself.
    """

    bit: int
    after: int
    operation: str
    parameters: tuple[str, ...]
    input: Tensor | None


@dataclass
class _Flow:
    """What a tensor's memory holds: `calls` has a bit for each call that it depends on, the lowest for the samples."""

    owner: object
    calls: int = 0
    parameters: int = 0


class DataFlow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records, while it is entered, which operations on parameters the samples pass through.

    `largest` is the size in bytes of the largest result, `coarsest` the least precise type of a number that depends on
    the samples.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[LayerCall] = []
        self.largest = 0
        self.coarsest = torch.float64
        self._names = list(parameters)
        # Parameters lie in the user's memory, so nothing is written to their storages, not even a mark.
        self._parameters: dict[int, _Flow] = {}
        for i, value in enumerate(parameters.values()):
            flow = self._parameters.setdefault(_address(value), _Flow(self))
            flow.parameters |= 1 << i

    def begin(self, samples: Tensor) -> Tensor:
        """The samples, as the source of all data."""
        own = samples.clone()
        self._mark(own, 1, 0)
        return own

    def reached(self, output: Any) -> int:
        """Which calls an output depends on, as bits."""
        bits = 0
        for leaf in tree_leaves(output):
            flow = self._flow(leaf) if isinstance(leaf, Tensor) else None
            bits |= flow.calls if flow is not None else 0
        return bits

    def names(self, mask: int) -> tuple[str, ...]:
        """The parameters of a mask."""
        return tuple(name for i, name in enumerate(self._names) if mask >> i & 1)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and pass on what its operands depend on."""
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        flows = [(leaf, self._flow(leaf)) for leaf in given]
        calls = parameters = 0
        for _, flow in flows:
            calls |= flow.calls if flow is not None else 0
        weights = [(leaf, flow) for leaf, flow in flows if flow is not None and flow.parameters and not flow.calls]
        for _, flow in weights:
            parameters |= flow.parameters
        if calls and weights and self._is_layer(func, [leaf for leaf, _ in weights]):
            calls |= self._record(func, args, calls, parameters)
        result = func(*args, **kwargs)
        written = [arg for arg, spec in zip(args, func._schema.arguments, strict=False) if _is_written(spec)]
        written += [kwargs[spec.name] for spec in func._schema.arguments if _is_written(spec) and spec.name in kwargs]
        for leaf in tree_leaves((result, written)):
            if isinstance(leaf, Tensor) and (calls or parameters):
                self._mark(leaf, calls, 0 if calls else parameters)
        return result

    @staticmethod
    def _is_layer(func: Any, weights: Sequence[Tensor]) -> bool:
        name = _name(func)
        if name in _NO_LAYERS or any(part in name for part in _NORMS):
            return False
        return any(weight.numel() > 1 for weight in weights)

    def _record(self, func: Any, args: Any, after: int, parameters: int) -> int:
        bit = 1 << (len(self.calls) + 1)
        entered = self._linear_input(_name(func), args)
        self.calls.append(
            LayerCall(
                bit,
                after,
                _name(func),
                self.names(parameters),
                # The memory may be written to later.
                None if entered is None else entered.detach().clone(),
            )
        )
        return bit

    def _linear_input(self, name: str, args: Any) -> Tensor | None:
        """The operand that depends on the samples where the other is a parameter."""
        if name in _PRODUCTS:
            operands = [args[place] for place in _PRODUCTS[name]]
        elif name == "convolution" and _is_pointwise(*args[:2]):
            operands = list(args[:2])
        else:
            return None
        data = [bool(flow.calls) if (flow := self._flow(operand)) is not None else False for operand in operands]
        fixed = [bool(flow.parameters) if (flow := self._flow(operand)) is not None else False for operand in operands]
        if data[0] and not data[1] and fixed[1]:
            return operands[0]  # type: ignore[no-any-return]
        if data[1] and not data[0] and fixed[0]:
            return operands[1]  # type: ignore[no-any-return]
        return None

    def _flow(self, tensor: Tensor) -> _Flow | None:
        held = self._parameters.get(_address(tensor))
        if held is not None:
            return held
        flow = getattr(_memory(tensor), "_afterkernel_flow", None)
        return flow if flow is not None and flow.owner is self else None

    def _mark(self, tensor: Tensor, calls: int, parameters: int) -> None:
        flow = self._flow(tensor)
        if flow is None:
            flow = _memory(tensor)._afterkernel_flow = _Flow(self)
        flow.calls |= calls
        flow.parameters |= parameters
        if calls:
            self.largest = max(self.largest, tensor.numel() * tensor.element_size())
            if tensor.is_floating_point():
                self.coarsest = max(self.coarsest, tensor.dtype, key=lambda kind: torch.finfo(kind).eps)


@dataclass(frozen=True)
class LastLayer:
    """The layer chosen: its name, which of its calls, and the input of that call."""

    name: str
    call: int
    calls: int
    input: Tensor

    @property
    def key(self) -> tuple[str, int, int]:
        """What must be the same for all samples."""
        return self.name, self.call, self.calls


def last_linear_layer(flow: DataFlow, output: Any, model: nn.Module) -> LastLayer:
    """The linear layer that comes last on the way to an output.

    Raises UserError where there is none, where several come last and their inputs differ, or where the last layer is
    not linear.
    """
    bits = flow.reached(output)
    if not bits:
        kind = type(output).__name__
        raise UserError(
            f"the model gives a {kind} in which the samples can't be followed, so its last linear layer is unknown: "
            "choose the layer whose input is used by layer=."
        )
    calls = [call for call in flow.calls if call.bit & bits]
    last = [call for call in calls if not any(other.after & call.bit for other in calls)]
    names = {call.bit: layer_name(call, model) for call in flow.calls}
    if not any(call.input is not None for call in calls):
        raise UserError(
            "the model has no linear layer (torch.nn.Linear, or a product with a parameter) on the way to its output, "
            f"so it has no last one: choose the layer whose input is used by layer={_example(model)}."
        )
    other = next((call for call in last if call.input is None), None)
    if other is not None:
        raise UserError(
            f"the last layer with parameters is not linear ({names[other.bit]}, in {other.operation}), so it is "
            f"unclear which input is meant: choose the layer by layer={_example(model)}."
        )
    inputs = [call.input for call in last if call.input is not None]
    if any(not _is_same(inputs[0], value) for value in inputs[1:]):
        shown = [names[call.bit] for call in last]
        common = _common(shown, model)
        choice = [common, *shown] if common else shown
        raise UserError(
            f"{len(last)} linear layers come last, with different inputs ({', '.join(dict.fromkeys(shown))}): choose "
            f"one by layer={' or layer='.join(repr(name) for name in dict.fromkeys(choice))}."
        )
    chosen = last[-1]
    same = [call.bit for call in flow.calls if names[call.bit] == names[chosen.bit] and call.input is not None]
    return LastLayer(names[chosen.bit], same.index(chosen.bit) + 1, len(same), inputs[-1])


def layer_name(call: LayerCall, model: nn.Module) -> str:
    """The module that a call's parameters belong to; the parameters themselves where they are shared or the model's."""
    modules = dict(model.named_modules(remove_duplicate=False))
    found = []
    for parameter in call.parameters:
        owner = parameter.partition(".parametrizations.")[0]
        owner = owner if owner != parameter else parameter.rpartition(".")[0]
        shared = isinstance(modules.get(owner), (nn.Embedding, nn.EmbeddingBag))
        found.append(parameter if not owner or shared else owner)
    return ", ".join(dict.fromkeys(found))


def _common(names: Sequence[str], model: nn.Module) -> str:
    """The innermost module that holds all of several layers, "" if that is the whole model or a mere container."""
    parts = [name.split(".") for name in names]
    shared = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    modules = dict(model.named_modules(remove_duplicate=False))
    while shared and isinstance(modules.get(".".join(shared)), (nn.ModuleList, nn.ModuleDict, type(None))):
        shared.pop()
    return ".".join(shared)


def _example(model: nn.Module) -> str:
    names = [layer_of(name) for name, _ in model.named_parameters() if "." in name]
    return repr(names[-1]) if names else '"name"'


def _is_same(first: Tensor, second: Tensor) -> bool:
    return first.numel() == second.numel() and torch.equal(first.flatten(), second.flatten())


def _is_pointwise(entered: Tensor, weight: Tensor) -> bool:
    """Whether a convolution is a linear layer: one pixel to one pixel, every channel to every channel."""
    pixels = (*entered.shape[2:], *weight.shape[2:])
    return all(size == 1 for size in pixels) and entered.ndim == weight.ndim and entered.shape[1] == weight.shape[1]


def _name(func: Any) -> str:
    return str(func._schema.name).rpartition("::")[2]


def _is_written(spec: Any) -> bool:
    return spec.alias_info is not None and bool(spec.alias_info.is_write)


def _memory(tensor: Tensor) -> Any:
    """What tensors that share memory have in common; the tensor itself if that is hidden (sparse tensors)."""
    try:
        return tensor.untyped_storage()
    except (RuntimeError, NotImplementedError):
        return tensor


def _address(tensor: Tensor) -> int:
    memory = _memory(tensor)
    return memory._cdata if isinstance(memory, torch.UntypedStorage) else id(memory)
