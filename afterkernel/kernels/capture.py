"""Capture of the layer calls in a forward pass, and a check that they account for every use of the parameters.

A call of a layer function (see `layers`) on a trained parameter is recorded as it happens, in any module.
Then autograd's graph is walked: a parameter is captured only if the edges that reach it are as many as its recorded
calls, so a weight that is also used elsewhere (tied, multiplied by hand, inside a recurrent layer) is never treated as
captured. Those that are not get per-example gradients instead (see `per_example`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.overrides import TorchFunctionMode

from afterkernel.kernels.layers import LAYERS, Call
from afterkernel.kernels.numeric import digits
from afterkernel.types import Float, Tensor


@dataclass(frozen=True)
class Unit:
    """A weight and its bias that are used together; either may be absent, frozen, or left to per-example gradients."""

    layer: str
    weight: str | None
    bias: str | None


@dataclass(frozen=True)
class Recorded:
    """A call on trained parameters, the names of these, and where autograd will find the gradient in its result."""

    call: Call
    weight: str | None
    bias: str | None
    edge: GradientEdge
    result_shape: torch.Size
    version: int
    refusal: str | None

    def of_rows(self, rows: Sequence[int] | None, grad: Tensor, dtype: torch.dtype) -> tuple[Call, Tensor]:
        """The call and the gradient in its result in `dtype`, for only the samples `rows` if given."""
        values = self.call.input if rows is None else self.call.input[rows]
        if values.is_floating_point():
            # Autocast makes a layer round its input: the gradient in its weight is made of the rounded numbers.
            values = values.to(min(values.dtype, grad.dtype, key=digits)).to(dtype)
        call = self.call if values is self.call.input else replace(self.call, input=values)
        return call, grad if grad.is_complex() else grad.to(dtype)


class Recorder(TorchFunctionMode):
    """Records every call of a layer function on a trained parameter while it is entered."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.calls: list[Recorded] = []
        self.unknown: dict[str, str] = {}
        self._names = {id(value): name for name, value in parameters.items()}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the function, and record it if it is a layer's."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in LAYERS and result.requires_grad:
            self._record(LAYERS[func](*args, **kwargs), result)
        elif isinstance(result, (Tensor, tuple)):
            self._note_unknown(func, args)
        return result

    def _record(self, call: Call, result: Tensor) -> None:
        weight = self._names.get(id(getattr(call, "weight", None)))
        bias = self._names.get(id(getattr(call, "bias", None)))
        if weight is None and bias is None:
            return
        call.input = call.input.detach()
        edge = get_gradient_edge(result)
        self.calls.append(Recorded(call, weight, bias, edge, result.shape, call.input._version, call.refusal()))

    def _note_unknown(self, func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Remember which function used a parameter, to name it as a reason."""
        for value in _flat(args):
            name = self._names.get(id(value))
            if name is not None:
                self.unknown.setdefault(name, getattr(func, "__name__", str(func)))


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value


def uses(output: Tensor, parameters: Mapping[str, Tensor]) -> Counter[str]:
    """How many edges of autograd's graph lead from the output to each parameter."""
    names = {id(value): name for name, value in parameters.items()}
    counts: Counter[str] = Counter()
    seen: set[Node] = set()
    nodes = [output.grad_fn] if output.grad_fn is not None else []
    while nodes:
        node = nodes.pop()
        for child, _ in node.next_functions:
            if child is None:
                continue
            name = names.get(id(getattr(child, "variable", None)))
            if name is not None:
                counts[name] += 1
            elif child not in seen:
                seen.add(child)
                nodes.append(child)
    return counts


def output_gradients(
    outputs: Float[Tensor, "n k"], columns: Tensor, calls: Sequence[Recorded], rows: Sequence[int] | None = None
) -> list[Float[Tensor, "r c ..."]]:
    """The gradient of the outputs `columns` in the result of every call, of all samples or some `rows`.

    Zero where an output does not depend on a result.
    """
    n = len(outputs) if rows is None else len(rows)
    found: list[Tensor | None] = [None] * len(calls)
    edges = [call.edge for call in calls]
    for j, column in enumerate(columns.tolist() if calls else ()):
        grads = torch.autograd.grad(outputs[:, column].sum(), edges, retain_graph=True, allow_unused=True)
        for i, (call, grad) in enumerate(zip(calls, grads, strict=True)):
            part = None if grad is None else grad if rows is None else grad[rows]
            if len(columns) == 1:
                found[i] = outputs.new_zeros(n, 1, *call.result_shape[1:]) if part is None else part.unsqueeze(1)
                continue
            if j == 0:
                found[i] = (outputs if part is None else part).new_zeros(n, len(columns), *call.result_shape[1:])
            if part is not None:
                found[i][:, j] = part  # type: ignore[index]
    return found  # type: ignore[return-value]


@dataclass(frozen=True)
class Captured:
    """The calls of a forward pass by unit, and the parameters that they do not account for, with the reason."""

    units: dict[Unit, list[Recorded]]
    left_over: dict[str, str]
    unused: tuple[str, ...]


def resolve(
    recorder: Recorder,
    output: Tensor,
    parameters: Mapping[str, Tensor],
    samples: int,
    distrusted: Mapping[str, str] | None = None,
) -> Captured:
    """Separate captured parameters from those that need per-example gradients.

    `distrusted` parameters, each with a reason, always need them.
    """
    distrusted = distrusted or {}
    counts = uses(output, parameters)
    left_over: dict[str, str] = {}
    for name in parameters:
        calls = [call for call in recorder.calls if name in (call.weight, call.bias)]
        reason = distrusted.get(name) or _reason(calls, counts[name], recorder.unknown.get(name), samples)
        # What is distrusted stays so where it isn't used: all batches have the same layout then.
        if reason is not None and (counts[name] or name in distrusted):
            left_over[name] = reason
    units: dict[Unit, list[Recorded]] = {}
    for call in recorder.calls:
        weight = call.weight if call.weight not in left_over and counts[call.weight or ""] else None
        bias = call.bias if call.bias not in left_over and counts[call.bias or ""] else None
        if weight or bias:
            units.setdefault(Unit(layer_of(weight or bias or ""), weight, bias), []).append(call)
    return Captured(units, left_over, tuple(name for name in parameters if not counts[name]))


def _reason(calls: list[Recorded], count: int, unknown: str | None, samples: int) -> str | None:
    """Why a parameter is not captured, or None if it is."""
    if len(calls) != count:
        return f"used {count} times, of which {len(calls)} as a layer" + (f", one in {unknown}" if unknown else "")
    if len({(call.weight, call.bias, type(call.call)) for call in calls}) > 1:
        return "shared by layers that differ"
    for call in calls:
        if call.refusal is not None:
            return call.refusal
        if len(call.call.input) != samples or call.result_shape[0] != samples:
            return "its layer's input does not have the samples as first dimension"
        if call.call.input._version != call.version:
            return "its layer's input is changed in place afterwards"
    return None


def layer_of(parameter: str) -> str:
    """The name of the module that a parameter belongs to; "model" where that is the network itself."""
    return parameter.rpartition(".")[0] or "model"
