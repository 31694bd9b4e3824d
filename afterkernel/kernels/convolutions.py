"""Convolutions as layers, in any number of directions: what a weight meets at each position are patches of an image."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import prod
from typing import Any

from afterkernel.kernels import contract
from afterkernel.kernels.contract import Window
from afterkernel.kernels.layers import MatrixCall
from afterkernel.kernels.sample_axis import SampleAxis
from afterkernel.types import Float, Tensor


class _Convolution(MatrixCall):
    """Patches of an image on one side, pixels of another image on the other."""

    weight: Tensor
    stride: Any
    dilation: Any
    groups: int

    def takes(self, axis: SampleAxis) -> bool:
        """The first; an image without samples in its first dimension is one image for all."""
        return axis.axis == 0 and self.input.ndim == self.weight.ndim

    @property
    def directions(self) -> int:
        """1 for sequences, 2 for images, 3 for videos."""
        return self.weight.ndim - 2

    def _each(self, value: Any) -> tuple[int, ...]:
        """One number, or one per direction, as the latter."""
        values = (value,) if isinstance(value, int) else tuple(value)
        return values * self.directions if len(values) == 1 else values

    @abstractmethod
    def _padding(self) -> tuple[tuple[int, int], ...]:
        """Before and after the image, in each direction."""

    def _window(self) -> Window:
        return Window(tuple(self.weight.shape[2:]), self._each(self.stride), self._padding(), self._each(self.dilation))

    def _pixels(self, a: Tensor, rows: int) -> Float[Tensor, "n q s d"]:
        """Channels of each group at each pixel, the pixels of all rows of a sample together."""
        a = a if rows > 1 else a.unsqueeze(1)
        n, r, c = a.shape[:3]
        a = a.reshape(n, r, self.groups, c // self.groups, -1)
        return a.permute(0, 2, 1, 4, 3).reshape(n, self.groups, -1, c // self.groups)

    def _patches(self, a: Tensor, sizes: tuple[int, ...] | None = None, *, bias: bool) -> Float[Tensor, "n q s d"]:
        """Patches, those of all rows of a sample together."""
        rows = self.repeats
        found = contract.image_patches(
            a.flatten(0, 1) if rows > 1 else a, self._window(), self.groups, sizes, bias=bias
        )
        if rows == 1:
            return found
        by_row = found.view(-1, rows, *found.shape[1:]).transpose(1, 2)
        return by_row.reshape(len(by_row), self.groups, -1, found.shape[-1])


@dataclass
class Convolution(_Convolution):
    """`torch.conv1d`, `torch.conv2d` and `torch.conv3d` on (n, c, ..., w)."""

    weight: Tensor
    bias: Tensor | None = None
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1

    def _padding(self) -> tuple[tuple[int, int], ...]:
        if self.padding == "valid":
            return ((0, 0),) * self.directions
        if self.padding == "same":  # the odd one is added at the end, as in torch
            totals = [d * (k - 1) for d, k in zip(self._each(self.dilation), self.weight.shape[2:], strict=True)]
            return tuple((total // 2, total - total // 2) for total in totals)
        return tuple((pad, pad) for pad in self._each(self.padding))

    def sizes(self) -> tuple[int, int, int, int]:
        """Every pixel of the result is a position."""
        positions = self.repeats * prod(self._window().positions(self.input.shape[-self.directions :]))
        out, per_group = self.weight.shape[:2]
        return positions, per_group * prod(self.weight.shape[2:]), out // self.groups, self.groups

    def positions_of_output(self, grad: Float[Tensor, "n k ..."]) -> Float[Tensor, "n k q s o"]:
        """Channels of each group last."""
        n, k = grad.shape[:2]
        if self.repeats == 1:
            return grad.reshape(n, k, self.groups, grad.shape[2] // self.groups, -1).transpose(-1, -2)
        found = self._pixels(grad.flatten(0, 1), self.repeats)
        return found.view(n, k, *found.shape[1:])

    def positions_of_input(self, part: slice, *, bias: bool) -> Float[Tensor, "n q s d"]:
        """Patches of the image."""
        return self._patches(self.input[part], bias=bias)

    def in_weight_order(self, rows: Float[Tensor, "n k p"]) -> Float[Tensor, "n k p"]:
        """A patch has its channels last, a weight before the directions."""
        n, k = rows.shape[:2]
        out, per_group, *kernel = self.weight.shape
        return rows.view(n, k, out, *kernel, per_group).movedim(-1, 3).reshape(n, k, -1)


@dataclass
class TransposedConvolution(_Convolution):
    """`torch.conv_transpose1d`, `2d` and `3d`: a pixel of the input meets a patch of the result.

    The bias is added to pixels of the result, not to patches, so it has a term of its own.
    """

    weight: Tensor
    bias: Tensor | None = None
    stride: Any = 1
    padding: Any = 0
    output_padding: Any = 0
    groups: int = 1
    dilation: Any = 1

    joins_bias = False

    def _padding(self) -> tuple[tuple[int, int], ...]:
        return tuple((pad, pad) for pad in self._each(self.padding))

    def sizes(self) -> tuple[int, int, int, int]:
        """Every pixel of the input is a position."""
        positions = self.repeats * prod(self.input.shape[-self.directions :])
        entered, per_group = self.weight.shape[:2]
        return positions, entered // self.groups, per_group * prod(self.weight.shape[2:]), self.groups

    def bias_gradients(self, grad: Float[Tensor, "n k ..."]) -> Float[Tensor, "n k o"]:
        """Summed over pixels, and over the rows of a sample."""
        channel = 2 + (self.repeats > 1)
        return grad.sum(dim=[d for d in range(2, grad.ndim) if d != channel])

    def positions_of_output(self, grad: Float[Tensor, "n k ..."]) -> Float[Tensor, "n k q s o"]:
        """Patches of the gradient in the result."""
        sizes = tuple(self.input.shape[-self.directions :])
        found = self._patches(grad.flatten(0, 1), sizes, bias=False)
        return found.view(*grad.shape[:2], *found.shape[1:])

    def positions_of_input(self, part: slice, *, bias: bool) -> Float[Tensor, "n q s d"]:
        """Pixels of the input."""
        assert not bias
        return self._pixels(self.input[part], self.repeats)

    def in_weight_order(self, rows: Float[Tensor, "n k p"]) -> Float[Tensor, "n k p"]:
        """A weight has its inputs first; a patch has its channels last."""
        n, k = rows.shape[:2]
        entered, per_group, *kernel = self.weight.shape
        q = self.groups
        rows = rows.view(n, k, q, *kernel, per_group, entered // q)
        return rows.movedim((-1, -2), (3, 4)).reshape(n, k, -1)
