"""Units: the parts of a gradient that are held by themselves, each with the sites that it is made at.

The operand of a site is a parameter or made of parameters. Where it is a selection of a parameter's numbers, times one
constant (a chunk, a transposed weight, a weight divided by the square root of its width), and no other operand has the
same numbers, the gradient in the operand is part of the gradient in the parameter, and is held as such. Elsewhere (a
weight made of direction and length, a matrix used as it is and transposed) the gradient in the operand is written out
and pulled back to the parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from afterkernel.kernels.capture import layer_of
from afterkernel.kernels.layers import Call, Linear, Lookup, Method, Shape
from afterkernel.kernels.numeric import as_real, real_numbers
from afterkernel.kernels.sites import LayerSite, Recorded
from afterkernel.kernels.terms import Gradients, Lookups, Term
from afterkernel.types import Float, Int, Tensor

# A use of an operand: the number of the site among those recorded, and that of the operand among its own.
Use = tuple[int, int]


@dataclass(frozen=True)
class Unit:
    """A weight and its bias that are held together; either may be absent, frozen, or held elsewhere.

    `part` counts the operands that one parameter is split into.
    """

    layer: str
    weight: str | None
    bias: str | None
    part: int = 0


@dataclass(frozen=True)
class Gathered:
    """What one backward pass gives: sites, and the gradients in their targets, of all samples or only `rows`."""

    recorded: Sequence[Recorded]
    grads: dict[int, list[Tensor]]
    rows: Sequence[int] | None
    dtype: torch.dtype

    def call(self, number: int) -> tuple[Call, Tensor]:
        """The layer of one site, with the gradient in its result."""
        return self.recorded[number].of_rows(self.rows, self.grads[number][0], self.dtype)

    def written(self, use: Use) -> Float[Tensor, "r k p"]:
        """The gradients in one operand of one site."""
        number, operand = use
        return self.recorded[number].rows(operand, self.grads[number], self.rows, self.dtype)


@dataclass(frozen=True)
class Group(ABC):
    """Units that are made together."""

    @property
    @abstractmethod
    def shapes(self) -> Mapping[Unit, Shape]:
        """The units, with the sizes that decide how each is held."""

    @property
    @abstractmethod
    def sites(self) -> frozenset[int]:
        """Numbers of the sites."""

    @property
    @abstractmethod
    def copies(self) -> int:
        """How often a written-out gradient lies in memory while it is made, apart from the result."""

    @abstractmethod
    def terms(self, gathered: Gathered, method: Method, out: Term | None) -> Iterator[tuple[Unit, Term]]:
        """The terms of the units, in their order; a single one may be written to `out`."""


@dataclass(frozen=True)
class CallGroup(Group):
    """One layer, called once or several times."""

    unit: Unit
    shape: Shape
    numbers: tuple[int, ...]
    scale: float

    @property
    def shapes(self) -> Mapping[Unit, Shape]:
        """One unit."""
        return {self.unit: self.shape}

    @property
    def sites(self) -> frozenset[int]:
        """One per call."""
        return frozenset(self.numbers)

    @property
    def copies(self) -> int:
        """Those of several calls are added up."""
        return 2 * (len(self.numbers) > 1) + 2 * (self.shape.kind == "lookup")

    def terms(self, gathered: Gathered, method: Method, out: Term | None) -> Iterator[tuple[Unit, Term]]:
        """The term of the one call, or of all calls merged."""
        trained = {"weight": self.unit.weight is not None, "bias": self.unit.bias is not None}
        terms = []
        for number in self.numbers:
            call, grad = gathered.call(number)
            grad = grad if self.scale == 1 else grad * self.scale
            terms.append(call.term(method, grad, out=out if len(self.numbers) == 1 else None, **trained))
        yield self.unit, terms[0] if len(terms) == 1 else type(terms[0]).merged(terms)


@dataclass(frozen=True)
class RowsGroup(Group):
    """One operand, whose gradients are written out at each of its uses and added up."""

    unit: Unit
    size: int
    uses: tuple[Use, ...]
    scale: float

    @property
    def shapes(self) -> Mapping[Unit, Shape]:
        """A vector."""
        return {self.unit: Shape("vector", 1, 1, self.size, 1, self.size)}

    @property
    def sites(self) -> frozenset[int]:
        """Of all uses."""
        return frozenset(number for number, _ in self.uses)

    @property
    def copies(self) -> int:
        """As they come out of autograd or vmap, and those of several uses."""
        return 1 + 2 * (len(self.uses) > 1)

    def terms(self, gathered: Gathered, method: Method, out: Term | None) -> Iterator[tuple[Unit, Term]]:
        """The sum."""
        del method, out
        rows = _added(gathered, self.uses)
        yield self.unit, Gradients(rows if self.scale == 1 else rows * self.scale)


def _added(gathered: Gathered, uses: Sequence[Use]) -> Float[Tensor, "r k p"]:
    rows = gathered.written(uses[0])
    for use in uses[1:]:
        rows = rows + gathered.written(use)
    return rows


@dataclass(frozen=True)
class TableGroup(Group):
    """One table that is looked up and that also multiplies, as tied embeddings do.

    An entry (s, v) of the gradient in the product adds to row v of the table, as a lookup of v at s does. Held as such
    ("factors") where few entries are other than 0, up to `entries` per sample; or written out, always if that is None.
    """

    unit: Unit
    rows: RowsGroup
    lookups: tuple[int, ...]
    products: tuple[int, ...]
    width: int
    positions: int
    entries: int | None = None

    @property
    def shapes(self) -> Mapping[Unit, Shape]:
        """A table that is looked up at every position and entry."""
        if self.entries is None:
            return self.rows.shapes
        places = self.positions + self.entries
        return {self.unit: Shape("lookup", places, self.rows.size // self.width, self.width, 1, self.rows.size)}

    @property
    def sites(self) -> frozenset[int]:
        """Of all uses."""
        return self.rows.sites

    @property
    def copies(self) -> int:
        """Those of several uses."""
        return self.rows.copies

    def terms(self, gathered: Gathered, method: Method, out: Term | None) -> Iterator[tuple[Unit, Term]]:
        """Lookups of all calls, or rows. Raises ManyEntriesError where a sample has more entries than are held."""
        if method == "gradients":
            yield from self.rows.terms(gathered, method, out)
            return
        terms: list[Lookups] = []
        for number in self.lookups:
            call, grad = gathered.call(number)
            term = call.term("factors", grad, weight=True, bias=False)
            assert isinstance(term, Lookups)
            terms.append(term)
        found = [entries_of(*gathered.call(number)) for number in self.products]
        terms.append(_padded([torch.cat(parts) for parts in zip(*found, strict=True)], len(terms[0]), self))
        merged = Lookups.merged(terms)
        yield self.unit, Lookups(merged.indices, merged.outputs * self.rows.scale) if self.rows.scale != 1 else merged

    def counted(self, gathered: Gathered) -> TableGroup:
        """The group with as many entries as the samples of a forward pass have."""
        found = [entries_of(*gathered.call(number))[0] for number in self.products]
        return replace(self, entries=int(torch.cat(found).bincount().max()) if torch.cat(found).numel() else 0)


class ManyEntriesError(Exception):
    """A sample has more entries other than 0 than the first samples had; `unit` is the table's."""

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        self.unit = unit


def entries_of(
    call: Call, grad: Float[Tensor, "n k ..."]
) -> tuple[Int[Tensor, " e"], Int[Tensor, " e"], Float[Tensor, "e k d"]]:
    """Of a product: where its gradient is not 0, the sample, the row of the weight, and the gradients in that row."""
    assert isinstance(call, Linear)
    g = call.positions_of_output(grad)[:, :, 0]
    sample, place, row = (g != 0).any(dim=1).nonzero().unbind(1)
    a = call.positions_of_input(slice(0, len(g)), bias=False)[:, 0]
    return sample, row, g[sample, :, place, row][:, :, None] * a[sample, place][:, None]


def _padded(entries: Sequence[Tensor], n: int, group: TableGroup) -> Lookups:
    """Entries of n samples, as many for each."""
    sample, row, values = entries
    order = sample.argsort(stable=True)
    sample, row, values = sample[order], row[order], values[order]
    counts = torch.bincount(sample, minlength=n)
    assert group.entries is not None
    if int(counts.max()) > group.entries:
        raise ManyEntriesError(group.unit)
    rank = torch.arange(len(sample), device=sample.device) - (counts.cumsum(0) - counts)[sample]
    indices = sample.new_full((n, group.entries), -1)
    outputs = values.new_zeros(n, values.shape[1], group.entries, values.shape[2])
    indices[sample, rank] = row
    outputs[sample, :, rank] = values
    return Lookups(indices, outputs)


@dataclass(frozen=True)
class PulledGroup(Group):
    """Parameters, and the operands that are made of them; each operand by its uses."""

    sizes: Mapping[str, int]
    operands: tuple[tuple[Use, ...], ...]
    parameters: Mapping[str, Tensor]

    @property
    def shapes(self) -> Mapping[Unit, Shape]:
        """One vector per parameter."""
        return {
            Unit(layer_of(name), name, None): Shape("vector", 1, 1, size, 1, size) for name, size in self.sizes.items()
        }

    @property
    def sites(self) -> frozenset[int]:
        """Of all uses."""
        return frozenset(number for uses in self.operands for number, _ in uses)

    @property
    def copies(self) -> int:
        """In the operand, in its parameters, and their sum."""
        return 3

    def terms(self, gathered: Gathered, method: Method, out: Term | None) -> Iterator[tuple[Unit, Term]]:
        """The gradients in the operands, times the derivative of these in the parameters."""
        del method, out
        totals: dict[str, Tensor] = {}
        for uses in self.operands:
            rows = _added(gathered, uses)
            number, operand = uses[0]
            source = gathered.recorded[number].sources[operand]
            for name, value in self._pulled(source, rows).items():
                totals[name] = totals[name] + value if name in totals else value
        for unit in self.shapes:
            assert unit.weight is not None
            yield unit, Gradients(totals[unit.weight])

    def _pulled(self, source: Tensor, rows: Float[Tensor, "r k p"]) -> dict[str, Float[Tensor, "r k p"]]:
        leaves = parents(source, self.parameters)
        if source.grad_fn is None:
            return dict.fromkeys(leaves, rows)
        flat = rows.flatten(0, 1).view(-1, *source.shape).to(source.dtype)
        try:
            found = torch.autograd.grad(source, list(leaves.values()), flat, retain_graph=True, is_grads_batched=True)
        except RuntimeError:  # an operation whose gradient has no vmap
            each = [torch.autograd.grad(source, list(leaves.values()), row, retain_graph=True) for row in flat]
            found = tuple(torch.stack(parts) for parts in zip(*each, strict=True))
        return {
            name: as_real(grad).reshape(*rows.shape[:2], -1).to(rows.dtype)
            for name, grad in zip(leaves, found, strict=True)
        }


def parents(source: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The trained parameters that an operand is made of."""
    names = {id(value): name for name, value in parameters.items()}
    if id(source) in names:
        return {names[id(source)]: source}
    found: dict[str, Tensor] = {}
    nodes: list[Any] = [source.grad_fn]
    seen: set[Any] = set()
    while nodes:
        for child, _ in nodes.pop().next_functions:
            if child is None or child in seen:
                continue
            seen.add(child)
            nodes.append(child)
            leaf = getattr(child, "variable", None)
            if leaf is not None and id(leaf) in names:
                found[names[id(leaf)]] = leaf
    return found


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
