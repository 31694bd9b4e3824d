"""Layers whose gradients factor: what each call of a layer function contributes to the tangent kernel.

Each class below is one function of torch, called with the trained parameters of a network: its fields are that
function's arguments, so that `Linear(*args, **kwargs)` reads a call of `torch.nn.functional.linear` as torch would.
The modules do not matter: any class that calls these functions is covered.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
import torch.nn.functional as F

from afterkernel.errors import UserError
from afterkernel.kernels import contract
from afterkernel.kernels.machine import batch_sizes
from afterkernel.kernels.terms import Factors, Gradients, Lookups, Term
from afterkernel.types import Float, Tensor

Method = Literal["gradients", "factors"]


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
    """One call of a layer function."""

    input: Tensor

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


class MatrixCall(Call):
    """A call that multiplies a weight with its input at each of several positions."""

    @abstractmethod
    def sizes(self) -> tuple[int, int, int, int]:
        """(positions, inputs, outputs, groups) of the weight, inputs and outputs of one group."""

    @abstractmethod
    def positions_of_output(self, grad: Float[Tensor, "n k ..."]) -> Float[Tensor, "n k q s o"]:
        """The gradient in the call's result, by group and position."""

    @abstractmethod
    def positions_of_input(self, part: slice, *, bias: bool) -> Float[Tensor, "n q s d"]:
        """What the weight is multiplied with at each position, with a constant 1 for the bias; samples of `part`."""

    def shape(self, *, weight: bool, bias: bool) -> Shape:
        """A matrix where the weight is trained, a vector where only the bias is."""
        s, d, o, q = self.sizes()
        if not weight:
            return Shape("vector", s, 1, o, q, q * o)
        return Shape("matrix", s, d + bias, o, q, q * o * (d + bias))

    def term(
        self, method: Method, grad: Float[Tensor, "n k ..."], *, weight: bool, bias: bool, out: Term | None = None
    ) -> Term:
        """Factors, or the gradients that they make, of the weight with its bias or of either."""
        g = self.positions_of_output(grad)
        if not weight:
            return Gradients(g.sum(dim=3).flatten(2))
        n = len(g)
        if method == "factors":
            return Factors(self.positions_of_input(slice(0, n), bias=bias), g.contiguous())
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

    def sizes(self) -> tuple[int, int, int, int]:
        """Every dimension between the first and the last counts positions."""
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
class Convolution(MatrixCall):
    """`torch.conv1d` or `torch.conv2d` on (n, c, ..., w)."""

    weight: Tensor
    bias: Tensor | None = None
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1

    def _pair(self, value: int | Sequence[int], height: int) -> tuple[int, int]:
        """One number or one per direction, as (height, width); `height` is that of a 1-dimensional convolution."""
        directions = self.weight.ndim - 2
        values = [value] * directions if isinstance(value, int) else list(value)
        values = values * directions if len(values) == 1 else values
        return (height, values[0]) if directions == 1 else (values[0], values[1])

    def _kernel(self) -> tuple[int, int]:
        return self._pair(self.weight.shape[2:], 1)

    def _padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        if self.padding == "valid":
            return (0, 0), (0, 0)
        if self.padding == "same":  # the odd one is added at the end, as in torch
            totals = [d * (k - 1) for d, k in zip(self._pair(self.dilation, 1), self._kernel(), strict=True)]
            return (totals[0] // 2, totals[0] - totals[0] // 2), (totals[1] // 2, totals[1] - totals[1] // 2)
        height, width = self._pair(self.padding, 0)
        return (height, height), (width, width)

    def sizes(self) -> tuple[int, int, int, int]:
        """Every pixel of the result is a position."""
        image = self._pair(self.input.shape[2:], 1)
        positions = 1
        for side, k, step, around, d in zip(
            image,
            self._kernel(),
            self._pair(self.stride, 1),
            self._padding(),
            self._pair(self.dilation, 1),
            strict=True,
        ):
            positions *= (side + sum(around) - d * (k - 1) - 1) // step + 1
        out, per_group = self.weight.shape[:2]
        return positions, per_group * prod(self.weight.shape[2:]), out // self.groups, self.groups

    def positions_of_output(self, grad: Float[Tensor, "n k ..."]) -> Float[Tensor, "n k q s o"]:
        """Channels of each group last."""
        n, k = grad.shape[:2]
        return grad.reshape(n, k, self.groups, grad.shape[2] // self.groups, -1).transpose(-1, -2)

    def positions_of_input(self, part: slice, *, bias: bool) -> Float[Tensor, "n q s d"]:
        """Patches of the image."""
        a = self.input[part]
        return contract.image_patches(
            a if a.ndim == 4 else a.unsqueeze(2),
            self._kernel(),
            self._pair(self.stride, 1),
            self._padding(),
            self._pair(self.dilation, 1),
            self.groups,
            bias=bias,
        )


@dataclass
class Lookup(Call):
    """`torch.nn.functional.embedding` of indices (n, ...)."""

    weight: Tensor
    padding_idx: int | None = None
    max_norm: float | None = None
    norm_type: float = 2.0
    scale_grad_by_freq: bool = False
    sparse: bool = False

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
    def normalised(self) -> Tensor:
        """The input as it is before scale and shift."""

    @abstractmethod
    def kept(self) -> list[int]:
        """Dimensions of the input along which the scale differs."""

    def shape(self, *, weight: bool, bias: bool) -> Shape:
        """A vector."""
        size = prod(self.input.shape[dimension] for dimension in self.kept())
        return Shape("vector", self.input[0].numel() // size, 1, size, 1, size * (weight + bias))

    def term(
        self, method: Method, grad: Float[Tensor, "n k ..."], *, weight: bool, bias: bool, out: Term | None = None
    ) -> Term:
        """Gradients summed over all that shares a scale."""
        summed = [d + 1 for d in range(1, self.input.ndim) if d not in self.kept()]
        parts = [grad * self.normalised()[:, None]] * weight + [grad] * bias
        rows = [(part.sum(dim=summed) if summed else part).flatten(2) for part in parts]
        return Gradients(torch.cat(rows, dim=2))


class LastDimensionsCall(ScaleCall):
    """A normalisation over the last dimensions of its input."""

    normalized_shape: Any

    def kept(self) -> list[int]:
        """The normalised dimensions."""
        return list(range(self.input.ndim - len(self.normalized_shape), self.input.ndim))


@dataclass
class LayerNorm(LastDimensionsCall):
    """`torch.nn.functional.layer_norm`."""

    normalized_shape: Any
    weight: Tensor | None = None
    bias: Tensor | None = None
    eps: float = 1e-5

    def normalised(self) -> Tensor:
        """Normalised over the last dimensions."""
        return F.layer_norm(self.input, self.normalized_shape, eps=self.eps)


@dataclass
class RMSNorm(LastDimensionsCall):
    """`torch.nn.functional.rms_norm`."""

    normalized_shape: Any
    weight: Tensor | None = None
    eps: float | None = None

    def normalised(self) -> Tensor:
        """Divided by the root mean square over the last dimensions."""
        return F.rms_norm(self.input, self.normalized_shape, eps=self.eps)


@dataclass
class GroupNorm(ScaleCall):
    """`torch.nn.functional.group_norm`."""

    num_groups: int
    weight: Tensor | None = None
    bias: Tensor | None = None
    eps: float = 1e-5

    def normalised(self) -> Tensor:
        """Normalised over groups of channels."""
        return F.group_norm(self.input, self.num_groups, eps=self.eps)

    def kept(self) -> list[int]:
        """The channels."""
        return [1]


@dataclass
class BatchNorm(ScaleCall):
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

    def normalised(self) -> Tensor:
        """Normalised by the running statistics."""
        return F.batch_norm(self.input, self.running_mean, self.running_var, eps=self.eps)

    def kept(self) -> list[int]:
        """The channels."""
        return [1]


LAYERS: dict[Callable[..., Any], type[Call]] = {
    F.linear: Linear,
    torch.conv1d: Convolution,
    torch.conv2d: Convolution,
    F.embedding: Lookup,
    F.layer_norm: LayerNorm,
    F.rms_norm: RMSNorm,
    F.group_norm: GroupNorm,
    F.batch_norm: BatchNorm,
}
