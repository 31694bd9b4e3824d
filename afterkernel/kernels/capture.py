"""Runs a forward pass whose sites are known, and checks that they account for every use of the parameters.

The parameters are replaced in every site (see `sites`), so a parameter that autograd's graph still leads to from the
output is used elsewhere too: in code that the calls do not show, or in a call that is no site. Those that are get
per-example gradients instead (see `per_example`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_leaves

from afterkernel.errors import UserError
from afterkernel.kernels.numeric import dense
from afterkernel.kernels.registry import LAYERS
from afterkernel.kernels.sites import Arguments, LayerSite, Recorded, Site
from afterkernel.types import Float, Tensor

# Modules whose Python functions are opened: what they call is seen instead of themselves. By where the body is from:
# `F.max_pool2d` only says that it is one of these, and passes its arguments on to a function that it holds.
_OPENED = ("torch.nn.functional", "torch.functional")


class CallsDifferError(Exception):
    """A forward pass uses its parameters in other calls than the passes that its sites were found in."""


class ParameterCalls(TorchFunctionMode):
    """Sees the calls of a forward pass that touch the parameter side, while it is entered.

    That side are the parameters and all that is computed of them alone. Calls without gradients, and those within a
    transform of torch.func, are left as they are.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.side: dict[int, Tensor] = {id(value): value for value in parameters.values()}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the call, in parts where it is a function of Python."""
        kwargs = kwargs or {}
        if isinstance(func, FunctionType) and func.__globals__.get("__name__") in _OPENED and func not in LAYERS:
            with self:
                return opened(func)(*args, **kwargs)
        return self.call(func, args, kwargs)

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a call that is not opened."""
        if not self.touched(args, kwargs) or not followed():
            return func(*args, **kwargs)
        leaves, spec = tree_flatten((args, kwargs))
        return self.touching(func, Arguments(args, kwargs, leaves, spec))

    def touched(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether an argument belongs to the parameter side."""
        for value in (*args, *kwargs.values()):
            if isinstance(value, Tensor):
                if id(value) in self.side:
                    return True
            elif isinstance(value, (list, tuple)) and self.touched(value, {}):
                return True
        return False

    def touching(self, func: Callable[..., Any], given: Arguments) -> Any:
        """Run a call that touches the parameter side: as it is, unless a subclass does more."""
        return func(*given.args, **given.kwargs)

    def add(self, result: Any) -> None:
        """Add the result of a call to the parameter side."""
        self.side.update({id(v): v for v in tree_leaves(result) if isinstance(v, Tensor) and v.requires_grad})


def followed() -> bool:
    """Whether calls are followed: with gradients, and outside transforms of torch.func, whose tensors are wrapped."""
    return torch.is_grad_enabled() and torch._C._functorch.maybe_current_level() is None


@cache
def opened(func: FunctionType) -> FunctionType:
    """A function of torch's that runs its own body although a mode is active."""
    scope = {**func.__globals__}
    for name in ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"):
        scope[name] = lambda *args: False  # noqa: ARG005
    found = FunctionType(func.__code__, scope, func.__name__, func.__defaults__, func.__closure__)
    found.__kwdefaults__ = func.__kwdefaults__
    return found


# What a call that touches the parameter side is: a site, None on the parameter side, or neither.
PLAIN = "plain"
Step = tuple[Callable[..., Any], Site | str | None]


class Recorder(ParameterCalls):
    """Records the sites of a forward pass of n samples, which are known in advance, while it is entered."""

    def __init__(self, parameters: Mapping[str, Tensor], steps: Sequence[Step], n: int) -> None:
        super().__init__(parameters)
        self._steps, self._n, self._at = steps, n, 0
        self.recorded: list[Recorded] = []

    def touching(self, func: Callable[..., Any], given: Arguments) -> Any:
        """Run the call as the site that it is. Raises CallsDifferError where it is another one."""
        if self._at == len(self._steps) or self._steps[self._at][0] != func:
            result = func(*given.args, **given.kwargs)
            if any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
                raise CallsDifferError
            return result  # a shape, a data type
        site = self._steps[self._at][1]
        self._at += 1
        if isinstance(site, Site):
            if not site.fits(given, self._n):
                raise CallsDifferError
            result, recorded = site.run(given, self._n)
            self.recorded.append(recorded)
            return result
        result = func(*given.args, **given.kwargs)
        if site is None:
            self.add(result)
        return result

    def finish(self) -> list[Recorded]:
        """What was recorded. Raises CallsDifferError where calls are missing."""
        if self._at != len(self._steps):
            raise CallsDifferError
        if any(entry.overwritten for entry in self.recorded):  # autograd would find out, but is not asked
            raise UserError(
                "the model's gradient fails: the input of a layer is changed in place after the layer's call."
            )
        return self.recorded


def uses(output: Tensor, tensors: Mapping[str, Tensor]) -> Counter[str]:
    """How many edges of autograd's graph lead from the output to each of some leaves of it."""
    names = {id(value): name for name, value in tensors.items()}
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


def doubtful(output: Tensor, recorded: Sequence[Recorded]) -> list[Recorded]:
    """Layers whose weights meet the output also by another way than their results, such as a second derivative."""
    layers = [entry for entry in recorded if isinstance(entry.site, LayerSite)]
    leaves = {f"{i} {j}": leaf for i, entry in enumerate(layers) for j, leaf in enumerate(entry.leaves)}
    counts = uses(output, leaves)
    return [e for i, e in enumerate(layers) if any(counts[f"{i} {j}"] > 1 for j in range(len(e.leaves)))]


def target_gradients(
    outputs: Float[Tensor, "n k"], columns: Tensor, recorded: Sequence[Recorded], rows: Sequence[int] | None = None
) -> list[list[Float[Tensor, "r c ..."]]]:
    """The gradient of the outputs `columns` in every target of every site, of all samples or some `rows`.

    The samples are the first dimension. Zero where an output does not depend on a target.
    """
    places = [(entry, i) for entry in recorded for i in range(len(entry.targets))]
    edges = [entry.targets[i] for entry, i in places]
    n, count = len(outputs) if rows is None else len(rows), len(columns)
    found: list[Tensor | None] = [None] * len(places)
    for j, column in enumerate(columns.tolist() if places else ()):
        grads = torch.autograd.grad(outputs[:, column].sum(), edges, retain_graph=True, allow_unused=True)
        for at, ((entry, i), grad) in enumerate(zip(places, grads, strict=True)):
            part = None if grad is None else entry.by_sample(i, dense(grad))
            part = part if part is None or rows is None else part[rows]
            if count == 1 and part is not None:
                found[at] = part.unsqueeze(1)
                continue
            if found[at] is None:
                found[at] = (outputs if part is None else part).new_zeros(n, count, *entry.shapes[i][1:])
            if part is not None:
                found[at][:, j] = part  # type: ignore[index]
    values = iter(found)
    return [[next(values) for _ in entry.targets] for entry in recorded]  # type: ignore[misc]


def layer_of(parameter: str) -> str:
    """The name of the module that a parameter belongs to; "model" where that is the network itself."""
    return parameter.rpartition(".")[0] or "model"
