"""The gradients of single samples in the parameters of a network, unit by unit, from one batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from afterkernel.kernels.capture import layer_of, target_gradients, uses
from afterkernel.kernels.groups import Gathered, Group, TableGroup, Unit
from afterkernel.kernels.layers import Method
from afterkernel.kernels.layout import Layout
from afterkernel.kernels.output import Output
from afterkernel.kernels.per_example import PerExampleGradients
from afterkernel.kernels.probe import Program, Programs, target_numbers
from afterkernel.kernels.samples import Batch
from afterkernel.kernels.sites import Recorded
from afterkernel.kernels.terms import Block, Gradients, Term
from afterkernel.kernels.units import groups_of
from afterkernel.kernels.working_copy import WorkingCopy
from afterkernel.types import Float, Tensor


@dataclass
class Pass:
    """One forward pass of the samples x, with its sites and their units."""

    x: Batch
    recorded: Sequence[Recorded]
    outputs: Float[Tensor, "n k"]
    groups: Sequence[Group]


class NetworkGradients:
    """How the gradients of a network are made.

    `methods` says for each unit whether its gradients are written out or kept as factors; `distrusted` parameters get
    per-example gradients, each with the reason; `full_tables` are tables with too many entries to be held as lookups.
    """

    def __init__(
        self,
        model: WorkingCopy,
        trained: Mapping[str, Tensor],
        output: Output,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.model, self.trained, self.output = model, trained, output
        self.dtype, self.device = dtype, device
        self.programs = Programs(trained)
        self.methods: dict[Unit, Method] = {}
        self.per_example: PerExampleGradients | None = None
        self.distrusted = {name: "a complex parameter" for name, v in trained.items() if v.is_complex()}
        self.full_tables: set[Unit] = set()

    def of(self, x: Batch) -> Callable[[], Float[Tensor, "n k"]]:
        """A function that gives the outputs for x."""
        return lambda: self.output.select(self.model(x), len(x))

    def program(self, x: Batch, place: Callable[[Batch], Batch]) -> Program:
        """The sites of samples of the shape of x; `place` is applied to those that are looked at."""
        return self.programs.of(x, lambda rows: self.of(place(x[rows]))())

    def lay_out(
        self, program: Program, recorded: Sequence[Recorded], outputs: Float[Tensor, "n k"], activation_bytes: int
    ) -> Layout:
        """Find the units of a program, and the parameters outside its sites, from a forward pass of a few samples."""
        reached = uses(outputs, self.trained)
        left_over = {
            name: self.distrusted.get(name) or program.reason(name)
            for name in self.trained
            if reached[name] or name in self.distrusted
        }
        mixed = set(left_over)
        groups = groups_of(recorded, self.trained, mixed)
        program.groups = tuple(
            group.counted(self._gathered([group], recorded, outputs, torch.zeros(1, dtype=torch.long)))
            if isinstance(group, TableGroup) and outputs.shape[1] == 1 and group.unit not in self.full_tables
            else group
            for group in groups
        )
        left_over |= dict.fromkeys(mixed - left_over.keys(), "it is mixed with such a parameter")
        used = {name for entry in recorded for source in entry.sources for name in program.parents(source)}
        return Layout(
            groups=program.groups,
            left_over=left_over,
            unused=tuple(name for name in self.trained if name not in used and name not in left_over),
            outputs=outputs.shape[1],
            # Gradients of the activations take as much again.
            activation_bytes=max(1, activation_bytes),
            target_bytes=target_numbers(recorded) * outputs.element_size() // len(outputs),
        )

    def _gathered(
        self,
        groups: Sequence[Group],
        recorded: Sequence[Recorded],
        outputs: Float[Tensor, "n k"],
        columns: Tensor,
        rows: Sequence[int] | None = None,
    ) -> Gathered:
        """The gradients in the targets of the sites of some groups."""
        needed = sorted({number for group in groups for number in group.sites})
        found = target_gradients(outputs, columns, [recorded[number] for number in needed], rows)
        return Gathered(recorded, dict(zip(needed, found, strict=True)), rows, self.dtype)

    def terms(
        self,
        batch: Pass,
        *,
        out: Block | None = None,
        columns: Tensor | None = None,
        rows: Sequence[int] | None = None,
    ) -> Iterator[tuple[str, Term]]:
        """Terms with their layers, in the order in which the layers are called, written to `out` if given.

        `rows` are the samples wanted, `columns` the outputs, which are then kept apart; all of them by default.
        """
        joined = columns is None and self.output.which == "trace"
        x, groups = batch.x, batch.groups
        columns = torch.arange(batch.outputs.shape[1]) if columns is None else columns
        gathered = self._gathered(groups, batch.recorded, batch.outputs, columns, rows)
        seen: Counter[str] = Counter()
        last = {number: i for i, group in enumerate(groups) for number in group.sites}

        def place(layer: str) -> Term | None:
            seen[layer] += 1
            return None if out is None else out.layers[layer][seen[layer] - 1]

        for i, group in enumerate(groups):
            single = next(iter(group.shapes)) if len(group.shapes) == 1 else None
            first = place(single.layer) if single is not None else None
            method = self.methods[single] if single is not None else "gradients"
            for unit, term in group.terms(gathered, method, None if joined else first):
                room = first if single is not None else place(unit.layer)
                term = term.outputs_joined() if joined else term
                if room is not None:
                    room.put(0, term)
                yield unit.layer, term if room is None else room
                del term
            for number in group.sites:
                if last[number] == i:  # the gradients of a layer are dropped with its term
                    del gathered.grads[number]
        if self.per_example is not None:
            x = x if rows is None else x[rows]
            n, k, terms = len(x), len(columns), {}
            for name, size in self.per_example.sizes.items():
                room = place(layer_of(name))
                shape = (n, 1, k * size) if joined else (n, k, size)
                empty = torch.empty(shape, dtype=self.dtype, device=self.device)
                terms[name] = room if isinstance(room, Gradients) else Gradients(empty)
            sizes = self.per_example.sizes
            self.per_example(x, {name: term.rows.view(n, k, sizes[name]) for name, term in terms.items()}, columns)
            yield from ((layer_of(name), term) for name, term in terms.items())
