"""Finds the sites of a network: two forward passes, of 3 and of 5 samples, whose calls are compared one by one.

In each tensor the one dimension that differs is that of the samples. A call without it, in operands and result, works
on parameters alone; one with it is a site if it touches the parameter side (see `sites`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_leaves

from afterkernel.errors import UserError
from afterkernel.kernels.capture import PLAIN, ParameterCalls, Recorder, Step, doubtful, followed
from afterkernel.kernels.groups import Group, parents
from afterkernel.kernels.registry import LAYERS
from afterkernel.kernels.sample_axis import SampleAxis, find_sample_axis
from afterkernel.kernels.samples import Batch, named_tensors
from afterkernel.kernels.sites import Arguments, ExpandSite, LayerSite, LocalSite, Recorded, Site, expanded, writes
from afterkernel.types import Float, Tensor

SAMPLES = (3, 5)

Sizes = tuple[int, ...]


class _CallsDifferError(Exception):
    """The two forward passes do not call the same functions."""


class _Log(ParameterCalls):
    """The calls with tensors in their results: function, sizes of the arguments' leaves, sizes of the results'."""

    def __init__(self) -> None:
        super().__init__({})
        self.entries: list[tuple[Callable[..., Any], list[Any], list[Any]]] = []

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the call, and note it."""
        given = [size_of(leaf) for leaf in tree_leaves((args, kwargs))]  # before an operation in place changes them
        result = func(*args, **kwargs)
        if followed() and _has_tensor(result):
            self.entries.append((func, given, [size_of(leaf) for leaf in tree_leaves(result)]))
        return result


def size_of(leaf: Any) -> Any:
    """What may depend on the number of samples in an argument: the shape of a tensor, a number, bounds of a slice."""
    if isinstance(leaf, Tensor):
        return tuple(leaf.shape)
    if isinstance(leaf, torch.Size):
        return [*leaf]
    if isinstance(leaf, slice):
        return f"{leaf.start} {leaf.stop} {leaf.step}"
    return leaf if type(leaf) is int else None


def _has_tensor(result: Any) -> bool:
    return isinstance(result, Tensor) or any(isinstance(leaf, Tensor) for leaf in tree_leaves(result))


class _Finder(ParameterCalls):
    """Compares a second forward pass with the log of the first, and runs each site as one."""

    def __init__(self, parameters: Mapping[str, Tensor], log: _Log) -> None:
        super().__init__(parameters)
        self._parameters = parameters
        self._log, self._at = log.entries, 0
        self.steps: list[Step] = []
        self.elsewhere: dict[int, str] = {}
        self._refused = False
        self.recorded: list[Recorded] = []

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the call, as a site if it is one."""
        if self._refused or not followed():
            return func(*args, **kwargs)
        logged = self._log[self._at] if self._at < len(self._log) else None
        if logged is None or logged[0] != func:
            result = func(*args, **kwargs)
            if _has_tensor(result):
                raise _CallsDifferError
            return result
        self._at += 1
        if not self.touched(args, kwargs):
            return func(*args, **kwargs)
        leaves, spec = tree_flatten((args, kwargs))
        given = Arguments(args, kwargs, leaves, spec)
        expected = self._expected(func, given)
        try:
            found = self._classified(func, given, logged, expected)
        except UserError:
            self._refused = True  # what is called while the forward pass is left is no part of it
            raise
        self.steps.append((func, found))
        if found is PLAIN:
            name = getattr(func, "__name__", str(func))
            for leaf in (leaf for leaf in leaves if id(leaf) in self.side):
                made_of = parents(leaf, self._parameters).values()
                self.elsewhere.update({id(value): f"it is used in {name}" for value in made_of})
        if isinstance(found, Site):
            result, recorded = found.run(given, SAMPLES[1])
            self.recorded.append(recorded)
            return result
        result = func(*args, **kwargs)
        if found is None:
            self.add(result)
        return result

    @staticmethod
    @torch.no_grad()
    def _expected(func: Callable[..., Any], given: Arguments) -> Any:
        """The result, what is written to being copied first."""
        copies = {i: leaf.clone() for i, leaf in enumerate(given.leaves) if writes(func) and isinstance(leaf, Tensor)}
        args, kwargs = given.replaced(copies)
        return func(*args, **kwargs)

    def _classified(
        self, func: Callable[..., Any], given: Arguments, logged: tuple[Any, list[Any], list[Any]], expected: Any
    ) -> Site | str | None:
        """The site that a call is; None for the parameter side; PLAIN if it is neither."""
        before, results = logged[1:]
        found = tree_leaves(expected)
        if len(before) != len(given.leaves) or len(results) != len(found):
            return PLAIN
        axes: dict[int, SampleAxis] = {}
        counts: dict[int, Any] = {}
        for i, (leaf, first) in enumerate(zip(given.leaves, before, strict=True)):
            second = size_of(leaf)
            if first == second:
                continue
            axis = find_sample_axis(first, second, SAMPLES) if isinstance(leaf, Tensor) else None
            if axis is not None and id(leaf) not in self.side:
                axes[i] = axis
            elif isinstance(leaf, (int, torch.Size)) and (count := _of_one(first, second)) is not None:
                counts[i] = count
            else:
                return PLAIN
        targets: dict[int, SampleAxis] = {}
        for i, (leaf, first) in enumerate(zip(found, results, strict=True)):
            if isinstance(leaf, Tensor) and first != tuple(leaf.shape):
                axis = find_sample_axis(first, tuple(leaf.shape), SAMPLES)
                if axis is None:
                    return PLAIN
                if leaf.is_floating_point() or leaf.is_complex():
                    targets[i] = axis
        if not axes and not targets:
            return None
        operands = tuple(i for i, leaf in enumerate(given.leaves) if isinstance(leaf, Tensor) and id(leaf) in self.side)
        if not operands or not targets:  # an operand deeper than a list
            return PLAIN
        if isinstance(expected, Tensor):
            made: Site | None = _layer(func, given, operands, axes, targets[0])
            made = made or _expand(func, given, operands, axes, targets[0], expected)
            if made is not None:
                return made
        return LocalSite(func, operands, axes, list(targets.values()), results=tuple(targets), counts=counts)


def _of_one(first: Any, second: Any) -> Any:
    """A number, or several, that are proportional to the samples where they differ, as they are for one sample."""
    if isinstance(first, list):
        each = [a if a == b else _of_one(a, b) for a, b in zip(first, second, strict=True)]
        return None if None in each else torch.Size(each)
    share = first // SAMPLES[0]
    return share if share and (share * SAMPLES[0], share * SAMPLES[1]) == (first, second) else None


def _layer(
    func: Callable[..., Any],
    given: Arguments,
    operands: tuple[int, ...],
    axes: dict[int, SampleAxis],
    target: SampleAxis,
) -> LayerSite | None:
    """The call as one of a layer, if it is one that factors."""
    if func not in LAYERS:
        return None
    call = LAYERS[func](*given.args, **given.kwargs)
    if call is None or call.refusal() is not None:
        return None
    entered = next((axis for i, axis in axes.items() if given.leaves[i] is call.input), None)
    weight, bias = getattr(call, "weight", None), getattr(call, "bias", None)
    roles = []
    for i in operands:
        leaf = given.leaves[i]
        if leaf is bias:
            roles.append("bias")
        elif weight is not None and leaf.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr():
            roles.append("weight")  # as it is, or transposed
        else:
            return None  # the input, or an operand of which the layer knows nothing, such as a running mean
    others = [i for i in axes if given.leaves[i] is not call.input]
    if entered is None or others or len({*roles}) != len(roles):
        return None
    if not call.takes(entered) or (entered.axis, entered.rows) != (target.axis, target.rows):
        return None
    return LayerSite(func, operands, axes, [target], entered=entered, roles=tuple(roles))


def _expand(
    func: Callable[..., Any],
    given: Arguments,
    operands: tuple[int, ...],
    axes: dict[int, SampleAxis],
    target: SampleAxis,
    expected: Tensor,
) -> ExpandSite | None:
    """The call with expanded operands, if that changes no bit of the result."""
    values = [given.leaves[i] for i in operands]
    for value in values:
        lead = len(target.others) + 1 - value.ndim
        if lead < 0 or (target.axis >= lead and value.shape[target.axis - lead] != 1):
            return None
    site = ExpandSite(func, operands, axes, [target] * len(operands))
    replaced = {i: expanded(v, target, SAMPLES[1]) for i, v in zip(operands, values, strict=True)}
    if writes(func):
        replaced |= {i: given.leaves[i].detach().clone() for i in axes}
    args, kwargs = given.replaced(replaced)
    try:
        with torch.no_grad():
            same = func(*args, **kwargs)
    except Exception:  # the function takes no such operands
        return None
    return site if same.shape == expected.shape and torch.equal(same, expected) else None


def find_sites(
    parameters: Mapping[str, Tensor], forward: Callable[[list[int]], Float[Tensor, "n k"]], samples: int
) -> Program:
    """The program of a network; without steps where two forward passes do not call the same functions."""
    log = _Log()
    finder = _Finder(parameters, log)
    try:
        with log:
            forward([i % samples for i in range(SAMPLES[0])])
        with finder:
            outputs = forward([i % samples for i in range(SAMPLES[1])])
        if outputs.requires_grad:
            _settle(finder, outputs)
    except UserError:
        raise
    except (_CallsDifferError, RuntimeError, ValueError, TypeError) as error:
        # Per-example gradients need none of this.
        why = "forward passes of 3 and of 5 samples do not call the same functions"
        why = why if isinstance(error, _CallsDifferError) else "its sites can't be run by themselves"
        return Program(parameters, (), dict.fromkeys(parameters, why))
    elsewhere = {name: finder.elsewhere[id(leaf)] for name, leaf in parameters.items() if id(leaf) in finder.elsewhere}
    return Program(parameters, tuple(finder.steps), elsewhere)


def _settle(finder: _Finder, outputs: Float[Tensor, "n k"]) -> None:
    """Find the order of rows where a sample has several, and drop what is no site after all."""
    recorded = finder.recorded
    wrong = {id(entry.site) for entry in doubtful(outputs, recorded)}
    several = [entry for entry in recorded if any(axis.rows > 1 for axis in entry.site.targets)]
    places = [(entry, i) for entry in several for i in range(len(entry.targets))]
    edges = [entry.targets[i] for entry, i in places]
    grads = torch.autograd.grad(outputs[1].sum(), edges, allow_unused=True) if edges else ()
    orders: dict[int, bool | None] = {}
    for (entry, i), grad in zip(places, grads, strict=True):
        axis = entry.site.targets[i]
        order = False if grad is None or axis.rows == 1 else _interleaved(grad, axis)
        orders[id(entry.site)] = None if order is None else bool(order or orders.get(id(entry.site)))
    for place, (func, site) in enumerate(finder.steps):
        if not isinstance(site, Site):
            continue
        order = orders.get(id(site), False)
        if id(site) in wrong or order is None:
            finder.steps[place] = (func, PLAIN)
        elif order:
            _interleave(site)
    for entry in recorded:
        if isinstance(entry.site, LocalSite):
            entry.site.keeps_copies = entry.overwritten


def _interleaved(grad: Tensor, axis: SampleAxis) -> bool | None:
    """Whether the rows of a sample are spread over the axis, from the gradient of sample 1; None if they are mixed."""
    touched = (grad != 0).movedim(axis.axis, 0).flatten(1).any(dim=1).nonzero().flatten()
    if bool((touched // axis.rows == 1).all()):
        return False
    return True if bool((touched % SAMPLES[1] == 1).all()) else None


def _interleave(site: Site) -> None:
    def spread(axis: SampleAxis) -> SampleAxis:
        return replace(axis, interleaved=axis.rows > 1)

    site.axes = {i: spread(axis) for i, axis in site.axes.items()}
    site.targets = [spread(axis) for axis in site.targets]
    if isinstance(site, LayerSite):
        site.entered = spread(site.entered)


class Program:
    """The sites of a network for samples of one shape, and the units that are made there, once these are known."""

    def __init__(self, parameters: Mapping[str, Tensor], steps: Sequence[Step], elsewhere: Mapping[str, str]) -> None:
        self._parameters, self.steps, self._elsewhere = parameters, steps, elsewhere
        self.groups: tuple[Group, ...] | None = None

    def record(
        self, n: int, forward: Callable[[], Float[Tensor, "n k"]]
    ) -> tuple[list[Recorded], Float[Tensor, "n k"]]:
        """The sites of a forward pass of n samples and its outputs. Raises CallsDifferError if it has other calls."""
        if not self.steps:
            return [], forward()
        with Recorder(self._parameters, self.steps, n) as recorder:
            outputs = forward()
        return recorder.finish(), outputs

    @property
    def sites(self) -> list[Site]:
        """The sites, as they are numbered."""
        return [site for _, site in self.steps if isinstance(site, Site)]

    def reason(self, name: str) -> str:
        """Why a parameter is used outside the sites."""
        return self._elsewhere.get(name, "it is used in code that the calls of a forward pass do not show")

    def parents(self, source: Tensor) -> list[str]:
        """The parameters that an operand is made of."""
        return list(parents(source, self._parameters))


def sample_shape(x: Batch) -> tuple[tuple[Any, ...], ...]:
    """The places and shapes of the tensors of a sample."""
    return tuple((place, *leaf.shape[1:]) for place, leaf in named_tensors(x).items())


class Programs:
    """The programs of a network, by the shape of a sample."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = parameters
        self._found: dict[object, Program] = {}

    def of(self, x: Batch, forward: Callable[[list[int]], Float[Tensor, "n k"]]) -> Program:
        """The program of samples like x. `forward` gives the outputs of some, which may occur several times."""
        key = sample_shape(x)
        if key not in self._found:
            self._found[key] = find_sites(self._parameters, forward, len(x))
        return self._found[key]

    @property
    def has_local(self) -> bool:
        """Whether calls are differentiated by themselves."""
        return any(isinstance(site, LocalSite) for program in self._found.values() for _, site in program.steps)

    def forget_sites(self) -> None:
        """Have no sites from now on: samples differ in the calls that they make."""
        for key in self._found:
            self._found[key] = Program(self._parameters, (), {})

    def forget_groups(self) -> None:
        """Have the units found again."""
        for program in self._found.values():
            program.groups = None


def target_numbers(recorded: Sequence[Recorded]) -> int:
    """Numbers in all targets of a forward pass."""
    return sum(prod(shape) for entry in recorded for shape in entry.shapes)
