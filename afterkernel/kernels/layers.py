"""Layers whose gradients factor: what each call of a layer function contributes to the tangent kernel.

Each class below is one function of torch, called with the trained parameters of a network: its fields are that
function's arguments, so that `Linear(*args, **kwargs)` reads a call of `torch.nn.functional.linear` as torch would.
The modules do not matter: any class that calls these functions is covered. `arrange` then moves the samples of a call
to the first dimension, from which on every class expects them there. The convolutions are in `convolutions`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
import torch.nn.functional as F

from afterkernel.errors import UserError
from afterkernel.kernels import contract
from afterkernel.kernels.machine import batch_sizes
from afterkernel.kernels.sample_axis import SampleAxis
from afterkernel.kernels.terms import ExpandedFactors, Factors, Gradients, Lookups, Term
from afterkernel.types import Float, Tensor

Method = Literal["gradients", "factors", "expanded"]


@dataclass(frozen=True)
class Shape:
    """Numbers of one sample that decide what a method costs: letters as in `contract`."""

    kind: Literal["matrix", "lookup", "vector"]
    positions: int
    inputs: int
    outputs: int
    groups: int
    parameters: int


@dataclass
class Call(ABC):
    """One call of a layer function; `repeats` is how many rows of the input each sample has, in its second dimension.

    `joins_bias` says whether weight and bias make one matrix, whose input has a constant 1.
    """

    input: Tensor

    repeats = 1
    joins_bias = True

    @abstractmethod
    def takes(self, axis: SampleAxis) -> bool:
        """Whether samples along this axis of the input are separate rows of the layer."""

    def arrange(self, axis: SampleAxis, n: int) -> None:
        """Move the n samples along an axis of the input to its first dimension, several rows of each to the second."""
        self.input, self.repeats = axis.split(self.input, n), axis.rows

    def with_input(self, values: Tensor) -> Call:
        """The same call on other input."""
        call = copy(self)
        call.input = values
        return call

    def refusal(self) -> str | None:
        """Why this call does not factor, or None if it does."""
        return None

    @abstractmethod
    def shape(self, *, weight: bool, bias: bool) -> Shape:
        """Sizes of this call; `weight` and `bias` say which of the two are trained."""

    @abstractmethod
    def term(
        self, method: Method, grad: Float[Tensor, "n k ..."], *, weight: bool, bias: bool, out: Term | None = None
    ) -> Term:
        """The term of this call, from the gradient of each output (k) in what the call returned.

        It may be written to `out`, a term of the same kind, which is then returned.
        """

    def in_weight_order(self, rows: Float[Tensor, "n k p"]) -> Float[Tensor, "n k p"]:
        """Gradients of the weight alone that `term` wrote out, in the order of the weight's numbers."""
        return rows


class MatrixCall(Call):
    """A call that multiplies a weight with its input at each of several positions."""

    bias: Tensor | None

    @abstractmethod
    def sizes(self) -> tuple[int, int, int, int]:
        """(positions, inputs, outputs, groups) of the weight, inputs and outputs of one group."""

    @abstractmethod
    def positions_of_output(self, grad: Float[Tensor, "n k ..."]) -> Float[Tensor, "n k q s o"]:
        """The gradient in the call's result, by group and position."""

    def bias_gradients(self, grad: Float[Tensor, "n k ..."]) -> Float[Tensor, "n k o"]:
        """The gradient in the bias, summed over positions."""
        return self.positions_of_output(grad).sum(dim=3).flatten(2)

    @abstractmethod
    def positions_of_input(self, part: slice, *, bias: bool) -> Float[Tensor, "n q s d"]:
        """What the weight is multiplied with at each position, with a constant 1 for the bias; samples of `part`."""

    def shape(self, *, weight: bool, bias: bool) -> Shape:
        """A matrix where the weight is trained, a vector where only the bias is."""
        s, d, o, q = self.sizes()
        if not weight:
            assert self.bias is not None
            numbers = self.bias.numel()
            return Shape("vector", s, 1, numbers, 1, numbers)
        return Shape("matrix", s, d + bias, o, q, q * o * (d + bias))

    def term(
        self, method: Method, grad: Float[Tensor, "n k ..."], *, weight: bool, bias: bool, out: Term | None = None
    ) -> Term:
        """Factors, or the gradients that they make, of the weight with its bias or of either."""
        if not weight:
            return Gradients(self.bias_gradients(grad))
        g = self.positions_of_output(grad)
        n = len(g)
        if method != "gradients":
            kind = Factors if method == "factors" else ExpandedFactors
            return kind(self.positions_of_input(slice(0, n), bias=bias), g.contiguous())
        s, d, o, q = self.sizes()
        target = out if isinstance(out, Gradients) else Gradients(g.new_empty(n, g.shape[1], q * o * (d + bias)))
        threads = torch.get_num_threads() if g.device.type == "cpu" else 1
        # Of several outputs the gradients are laid out too, and of several groups what is made of them.
        k = g.shape[1]
        numbers = max(q * s * d, k * q * s * o * (k > 1), k * q * o * d * (q > 1))
        # As many samples for one thread as for another.
        samples = max(1, batch_sizes(g.device).patch_bytes // (numbers * g.element_size() * threads)) * threads
        for start in range(0, n, samples):
            part = slice(start, min(start + samples, n))
            contract.weight_gradients(self.positions_of_input(part, bias=bias), g[part], target.rows[part])
        return target


@dataclass
class Linear(MatrixCall):
    """`torch.nn.functional.linear` on (n, ..., d)."""

    weight: Tensor
    bias: Tensor | None = None

    def takes(self, axis: SampleAxis) -> bool:
        """Any but the last, of features."""
        return axis.axis < self.input.ndim - 1

    def sizes(self) -> tuple[int, int, int, int]:
        """Every dimension between the first and the last counts positions, of which one may be the rows."""
        return prod(self.input.shape[1:-1]), self.weight.shape[1], self.weight.shape[0], 1

    def positions_of_output(self, grad: Float[Tensor, "n k ..."]) -> Float[Tensor, "n k q s o"]:
        """Positions flattened."""
        return grad.reshape(*grad.shape[:2], 1, -1, grad.shape[-1])

    def positions_of_input(self, part: slice, *, bias: bool) -> Float[Tensor, "n q s d"]:
        """The input itself."""
        a = self.input[part]
        a = a.reshape(len(a), 1, -1, a.shape[-1])
        return F.pad(a, (0, 1), value=1) if bias else a


@dataclass
class Lookup(Call):
    """`torch.nn.functional.embedding` of indices (n, ...)."""

    weight: Tensor
    padding_idx: int | None = None
    max_norm: float | None = None
    norm_type: float = 2.0
    scale_grad_by_freq: bool = False
    sparse: bool = False

    def takes(self, axis: SampleAxis) -> bool:
        """Any: every index is a position."""
        return True

    def refusal(self) -> str | None:
        """Options that change the weight or its gradient beyond a lookup."""
        if self.max_norm is not None or self.scale_grad_by_freq:
            return "an embedding with max_norm or scale_grad_by_freq is more than a lookup"
        return None

    def shape(self, *, weight: bool, bias: bool) -> Shape:
        """Each index is a position."""
        entries, width = self.weight.shape
        return Shape("lookup", prod(self.input.shape[1:]), entries, width, 1, entries * width)

    def term(
        self, method: Method, grad: Float[Tensor, "n k ..."], *, weight: bool, bias: bool, out: Term | None = None
    ) -> Term:
        """Indices and output gradients, or the table of gradients; the padding entry is not trained."""
        indices = self.input.reshape(len(self.input), -1)
        entries = len(self.weight)
        if self.padding_idx is not None:
            indices = torch.where(indices == self.padding_idx % entries, -1, indices)
        g = grad.reshape(*grad.shape[:2], -1, grad.shape[-1])
        if method == "factors":
            return Lookups(indices, g)
        return Gradients(contract.lookup_gradients(indices, g, entries))


class ScaleCall(Call):
    """A normalisation: a trained scale and shift of each number of its normalised input."""

    @abstractmethod
    def normalised(self, a: Tensor) -> Tensor:
        """The input as it is before scale and shift."""

    @abstractmethod
    def kept(self) -> list[int]:
        """Dimensions of one row of the input along which the scale differs, counted from the end."""

    def shape(self, *, weight: bool, bias: bool) -> Shape:
        """A vector."""
        size = prod(self.input.shape[dimension] for dimension in self.kept())
        return Shape("vector", self.input[0].numel() // size, 1, size, 1, size * (weight + bias))

    def term(
        self, method: Method, grad: Float[Tensor, "n k ..."], *, weight: bool, bias: bool, out: Term | None = None
    ) -> Term:
        """Gradients summed over all that shares a scale."""
        kept = {d % grad.ndim for d in self.kept()}
        summed = [d for d in range(2, grad.ndim) if d not in kept]
        parts = [grad] * bias
        if weight:
            a = self.input
            normal = self.normalised(a.flatten(0, 1) if self.repeats > 1 else a).view(a.shape)
            parts = [grad * normal[:, None], *parts]
        rows = [(part.sum(dim=summed) if summed else part).reshape(*grad.shape[:2], -1) for part in parts]
        return Gradients(torch.cat(rows, dim=2))


class ChannelsCall(ScaleCall):
    """A scale of each channel of (n, c, ...)."""

    def takes(self, axis: SampleAxis) -> bool:
        """The first."""
        return axis.axis == 0

    def kept(self) -> list[int]:
        """The channels."""
        return [1 + (self.repeats > 1) - self.input.ndim]


class LastDimensionsCall(ScaleCall):
    """A normalisation over the last dimensions of its input."""

    normalized_shape: Any

    def takes(self, axis: SampleAxis) -> bool:
        """Any but the normalised ones."""
        return axis.axis < self.input.ndim - len(self.normalized_shape)

    def kept(self) -> list[int]:
        """The normalised dimensions."""
        return list(range(-len(self.normalized_shape), 0))


@dataclass
class LayerNorm(LastDimensionsCall):
    """`torch.nn.functional.layer_norm`."""

    normalized_shape: Any
    weight: Tensor | None = None
    bias: Tensor | None = None
    eps: float = 1e-5

    def normalised(self, a: Tensor) -> Tensor:
        """Normalised over the last dimensions."""
        return F.layer_norm(a, self.normalized_shape, eps=self.eps)


@dataclass
class RMSNorm(LastDimensionsCall):
    """`torch.nn.functional.rms_norm`."""

    normalized_shape: Any
    weight: Tensor | None = None
    eps: float | None = None

    def normalised(self, a: Tensor) -> Tensor:
        """Divided by the root mean square over the last dimensions."""
        return F.rms_norm(a, self.normalized_shape, eps=self.eps)


@dataclass
class GroupNorm(ChannelsCall):
    """`torch.nn.functional.group_norm`."""

    num_groups: int
    weight: Tensor | None = None
    bias: Tensor | None = None
    eps: float = 1e-5

    def normalised(self, a: Tensor) -> Tensor:
        """Normalised over groups of channels."""
        return F.group_norm(a, self.num_groups, eps=self.eps)


@dataclass
class BatchNorm(ChannelsCall):
    """`torch.nn.functional.batch_norm` in evaluation mode."""

    running_mean: Tensor | None
    running_var: Tensor | None
    weight: Tensor | None = None
    bias: Tensor | None = None
    training: bool = False
    momentum: float = 0.1
    eps: float = 1e-5

    def refusal(self) -> str | None:
        """Batch statistics mix the samples: there is no kernel of single samples then."""
        if self.training or self.running_mean is None:
            raise UserError(
                "a batch normalisation uses the statistics of the batch even in evaluation mode, so a sample's output "
                "depends on the others: build it with track_running_stats=True."
            )
        return None

    def normalised(self, a: Tensor) -> Tensor:
        """Normalised by the running statistics."""
        return F.batch_norm(a, self.running_mean, self.running_var, eps=self.eps)


@dataclass
class PReLU(ScaleCall):
    """`torch.nn.functional.prelu`: the scale of each channel, or of all, is that of the negative part."""

    weight: Tensor

    def takes(self, axis: SampleAxis) -> bool:
        """The first."""
        return axis.axis == 0

    def normalised(self, a: Tensor) -> Tensor:
        """The negative part."""
        return a.clamp(max=0)

    def kept(self) -> list[int]:
        """The channels, unless they share one scale."""
        return [1 + (self.repeats > 1) - self.input.ndim] if self.weight.numel() > 1 else []
