"""Finds the units of a network: which operands of the sites make one.

The operand of a site is a parameter or made of parameters. Where it is a selection of a parameter's numbers, times one
constant (a chunk, a transposed weight, a weight divided by the square root of its width), and no other operand has the
same numbers, the gradient in the operand is part of the gradient in the parameter, and is held as such. Elsewhere (a
weight made of direction and length, a matrix used as it is and transposed) the gradient in the operand is written out
and pulled back to the parameters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from afterkernel.kernels.capture import layer_of
from afterkernel.kernels.groups import CallGroup, Group, PulledGroup, RowsGroup, TableGroup, Unit, Use, parents
from afterkernel.kernels.layers import Linear, Lookup
from afterkernel.kernels.numeric import real_numbers
from afterkernel.kernels.sites import LayerSite, Recorded
from afterkernel.types import Tensor


@dataclass
class _Operand:
    """An operand of one or several sites, and what it is of its parameters: see `_selection`."""

    tensor: Tensor
    parents: dict[str, Tensor]
    uses: list[Use]
    scale: float | None = None

    @property
    def name(self) -> str:
        """The first of its parameters."""
        return next(iter(self.parents))


def groups_of(recorded: Sequence[Recorded], parameters: Mapping[str, Tensor], left_over: set[str]) -> list[Group]:
    """The units of a forward pass, in the order of their first sites.

    `left_over` are parameters that are used outside the sites; those that are mixed with them are added to it.
    """
    operands = _operands(recorded, parameters)
    components = _components(operands)
    groups: list[Group] = []
    for part in components:
        names = {name: leaf for operand in part for name, leaf in operand.parents.items()}
        if left_over & names.keys():
            left_over |= names.keys()
            continue
        if not _are_selections(part):
            sizes = {name: real_numbers(leaf) for name, leaf in names.items()}
            groups.append(PulledGroup(sizes, tuple(tuple(operand.uses) for operand in part), parameters))
    gone = left_over | {name for group in groups if isinstance(group, PulledGroup) for name in group.sizes}
    groups += _direct([operand for operand in operands if not gone & operand.parents.keys()], recorded)
    return sorted(groups, key=lambda group: min(group.sites))


def _operands(recorded: Sequence[Recorded], parameters: Mapping[str, Tensor]) -> list[_Operand]:
    """Operands by where they lie in memory and how."""
    found: dict[Any, _Operand] = {}
    for number, entry in enumerate(recorded):
        for place, source in enumerate(entry.sources):
            if not source.numel():
                continue
            key = source.data_ptr(), tuple(source.shape), source.stride(), source.dtype
            if key not in found:
                found[key] = _Operand(source, parents(source, parameters), [])
            elif found[key].parents.keys() != parents(source, parameters).keys():
                found[key, number, place] = _Operand(source, parents(source, parameters), [(number, place)])
                continue
            found[key].uses.append((number, place))
    return [operand for operand in found.values() if operand.parents]


def _components(operands: Sequence[_Operand]) -> list[list[_Operand]]:
    """Operands that have parameters in common, directly or by others."""
    parts: list[tuple[set[str], list[_Operand]]] = []
    for operand in operands:
        names, members = set(operand.parents), [operand]
        rest = []
        for part in parts:
            if part[0] & names:
                names |= part[0]
                members = part[1] + members
            else:
                rest.append(part)
        parts = [*rest, (names, members)]
    return [members for _, members in parts]


def _are_selections(part: Sequence[_Operand]) -> bool:
    """Whether each operand is a selection of its parameters' numbers, times a constant, and no two share a number."""
    taken: dict[str, Tensor] = {}
    for operand in part:
        selected = _selection(operand)
        if selected is None or len({layer_of(name) for name in operand.parents}) > 1:
            return False
        operand.scale, masks = selected
        for name, mask in masks.items():
            if len(part) > 1 and name in taken and bool((taken[name] & mask).any()):
                return False
            taken[name] = taken[name] | mask if name in taken else mask
    return True


def _selection(operand: _Operand) -> tuple[float, dict[str, Tensor]] | None:
    """The constant, and which of the parameters' numbers are selected; None for any other function of them.

    The product of the Jacobian's transpose with random signs has then as many numbers other than 0 as the operand has,
    all of one size.
    """
    source = operand.tensor
    if len(operand.parents) == 1 and source is operand.parents[operand.name]:
        return 1.0, {operand.name: torch.ones_like(source, dtype=torch.bool)}
    generator = torch.Generator().manual_seed(0)
    signs = (torch.randint(0, 2, source.shape, generator=generator) * 2 - 1).to(source)
    leaves = list(operand.parents.values())
    grads = torch.autograd.grad(source, leaves, signs, retain_graph=True)
    sizes = torch.cat([grad[grad != 0].abs().flatten() for grad in grads])
    if sizes.numel() != source.numel() or bool((sizes != sizes[0]).any()):
        return None
    return float(sizes[0]), {name: grad != 0 for name, grad in zip(operand.parents, grads, strict=True)}


def _direct(operands: Sequence[_Operand], recorded: Sequence[Recorded]) -> list[Group]:
    """Groups of operands that are selections: as layers where all uses are those of one kind of layer."""
    by_use = {use: operand for operand in operands for use in operand.uses}
    parts: Counter[str] = Counter()
    done: set[int] = set()
    groups: list[Group] = []

    def named(operand: _Operand, *, weight: str | None, bias: str | None) -> Unit:
        parts[operand.name] += 1
        return Unit(layer_of(operand.name), weight, bias, parts[operand.name] - 1)

    for operand in operands:
        if id(operand) in done:
            continue
        done.add(id(operand))
        assert operand.scale is not None
        kinds = {_kind(recorded, use) for use in operand.uses}
        if len(kinds) > 1 or None in kinds:
            unit = named(operand, weight=operand.name, bias=None)
            written = RowsGroup(unit, real_numbers(operand.tensor), tuple(operand.uses), operand.scale)
            is_table = kinds == {(Lookup, "weight"), (Linear, "weight")}
            groups.append(_table(written, recorded) if is_table else written)
            continue
        numbers = tuple(number for number, _ in operand.uses)
        calls = [recorded[number].call for number in numbers]
        other = _partner(operand, by_use, recorded)
        weight, bias = (operand, other) if _is_weight(recorded, operand.uses[0]) else (other, operand)
        if other is not None:
            done.add(id(other))
        unit = named(operand, weight=None if weight is None else weight.name, bias=None if bias is None else bias.name)
        found = [call.shape(weight=weight is not None, bias=bias is not None) for call in calls if call is not None]
        shape = replace(found[0], positions=sum(each.positions for each in found))
        groups.append(CallGroup(unit, shape, numbers, operand.scale))
    return groups


def _table(rows: RowsGroup, recorded: Sequence[Recorded]) -> TableGroup:
    calls = {number: recorded[number].call for number in sorted(rows.sites)}
    lookups = [number for number, call in calls.items() if isinstance(call, Lookup)]
    products = [number for number in calls if number not in lookups]
    shapes = [call.shape(weight=True, bias=False) for call in calls.values() if isinstance(call, Lookup)]
    positions = sum(shape.positions for shape in shapes)
    return TableGroup(rows.unit, rows, tuple(lookups), tuple(products), shapes[0].outputs, positions)


def _kind(recorded: Sequence[Recorded], use: Use) -> tuple[type, str] | None:
    """The class of layer at a use, and what the operand is there; None where it is no layer."""
    entry = recorded[use[0]]
    return (type(entry.call), entry.site.roles[use[1]]) if isinstance(entry.site, LayerSite) else None


def _is_weight(recorded: Sequence[Recorded], use: Use) -> bool:
    kind = _kind(recorded, use)
    return kind is not None and kind[1] == "weight"


def _partner(operand: _Operand, by_use: Mapping[Use, _Operand], recorded: Sequence[Recorded]) -> _Operand | None:
    """The other operand of the same calls, weight or bias, if it has no other uses and the two are held as one."""
    others = set()
    for number, place in operand.uses:
        call = recorded[number].call
        if call is None or not call.joins_bias or len(recorded[number].sources) != 2:
            return None
        others.add(id(by_use.get((number, 1 - place))))
    if len(others) != 1 or id(None) in others:
        return None
    number, place = operand.uses[0]
    other = by_use[number, 1 - place]
    same = {use[0] for use in other.uses} == {use[0] for use in operand.uses}
    one_kind = len({_kind(recorded, use) for use in other.uses}) == 1
    one_layer = layer_of(other.name) == layer_of(operand.name) and other.scale == operand.scale
    return other if same and one_kind and one_layer and other is not operand else None
