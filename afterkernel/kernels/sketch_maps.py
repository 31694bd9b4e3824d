"""Random linear maps that shorten gradients and keep inner products on average. Pure functions of a key.

A count sketch (Charikar et al. 2002) adds entry e of a vector, with a random sign, to place h(e) of `dim` numbers; the
inner product of two sketches is an unbiased estimate of that of the vectors. TensorSketch (Pham and Pagh 2013) is the
count sketch of an outer product g a^T with h(j, i) = h1(j) + h2(i) and sign s1(j) s2(i): a cyclic convolution of the
sketches of both factors, so that a product of Fourier transforms replaces the outer product.

Here the longer factor keeps its places and the other one's entries have distinct random offsets, in a sketch that is at
least as long as both. So two entries of one row or one column never meet, and all others meet with probability 1 / dim,
as in a count sketch of the whole gradient with independent places. The variance of an inner product is then at most

    (|x|^2 |y|^2 + <x, y>^2) / dim,

that of a dense random projection, where TensorSketch with hashed places has up to three times as much.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

from afterkernel.types import Float, Int, Tensor

# Numbers in the Fourier transforms that are held at once.
TRANSFORMED = 1 << 20
_GOLDEN, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15


def key_of(*parts: object) -> int:
    """A key of 63 bits from names and numbers."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def random_bits(key: int, index: Int[Tensor, " ..."]) -> Int[Tensor, " ..."]:
    """62 random bits for each index, the same on every device (splitmix64, Steele et al. 2014)."""
    z = (index + 1) * _GOLDEN + key
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    return _shifted(z ^ _shifted(z, 31), 2)


def _shifted(z: Int[Tensor, " ..."], bits: int) -> Int[Tensor, " ..."]:
    """Shifted to the right as an unsigned number."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def random_signs(key: int, count: int, like: Tensor) -> Float[Tensor, " count"]:
    """Random signs, in the type and on the device of `like`."""
    bits = random_bits(key, torch.arange(count, device=like.device))
    return (2 * (bits & 1) - 1).to(like.dtype)


def random_offsets(key: int, count: int, length: int, device: torch.device) -> Int[Tensor, " count"]:
    """Random places below `length`, distinct if there are as many."""
    if count > length:
        return random_bits(key, torch.arange(count, device=device)) % length
    return random_bits(key, torch.arange(length, device=device)).argsort()[:count]


def length_for(dim: int, *sides: int) -> int:
    """The length of the sketch of a layer before it is folded: `dim`, doubled until no side is longer."""
    length = dim
    while length < max(sides):
        length *= 2
    return length


class Sums:
    """Sketches (n, k, dim) of n samples and k outputs, to which those of layers are added.

    Longer ones are added up by length, as numbers and as Fourier transforms, until `folded`.
    """

    def __init__(self, n: int, k: int, dim: int, seed: int, like: Tensor) -> None:
        self.dim, self.outputs = dim, k
        self._seed, self._shape, self._like = seed, (n, k), like
        self._plain: dict[int, Float[Tensor, "n k length"]] = {}
        self._transformed: dict[int, Tensor] = {}

    def plain(self, length: int) -> Float[Tensor, "n k length"]:
        """The sum of sketches of that length."""
        if length not in self._plain:
            self._plain[length] = self._like.new_zeros(*self._shape, length)
        return self._plain[length]

    def transformed(self, length: int) -> Tensor:
        """The sum of the Fourier transforms of sketches of that length."""
        if length not in self._transformed:
            kind = torch.complex(self._like.new_zeros(1), self._like.new_zeros(1)).dtype
            size = (*self._shape, length // 2 + 1)
            self._transformed[length] = torch.zeros(size, dtype=kind, device=self._like.device)
        return self._transformed[length]

    def folded(self) -> Float[Tensor, "n k dim"]:
        """The sum over all layers, with longer sketches shortened to `dim` by another random map."""
        for length, transformed in self._transformed.items():
            self.plain(length).add_(torch.fft.irfft(transformed, n=length))
        self._transformed.clear()
        found = self.plain(self.dim)
        for length, part in self._plain.items():
            if length != self.dim:
                add_pieces(part, key_of(self._seed, "fold", length), found)
        return found


def add_pieces(rows: Float[Tensor, "n k p"], key: int, total: Float[Tensor, "n k dim"]) -> None:
    """Add the sketch of written-out rows: pieces of `dim` numbers with random signs, each moved by a random offset.

    Entries of one piece never meet, others do with probability 1 / dim.
    """
    p, dim = rows.shape[2], total.shape[2]
    signs = random_signs(key_of(key, "signs"), p, rows)
    pieces = -(-p // dim)
    offsets = random_offsets(key_of(key, "offsets"), pieces, dim, rows.device).tolist()
    for piece, offset in enumerate(offsets):
        part = slice(piece * dim, min(p, (piece + 1) * dim))
        add_moved(rows[..., part] * signs[part], offset, total)


def add_moved(rows: Float[Tensor, "n k w"], offset: int, total: Float[Tensor, "n k length"]) -> None:
    """total[..., (offset + i) % length] += rows[..., i]; rows are at most as long."""
    width, length = rows.shape[2], total.shape[2]
    end = min(width, length - offset)
    total[..., offset : offset + end] += rows[..., :end]
    if end < width:
        total[..., : width - end] += rows[..., end:]


@dataclass(frozen=True)
class MatrixSketch:
    """The sketch of the gradients sum_s g_s a_s^T of a weight, outputs o times inputs d, from factors or written out.

    Both give the same numbers up to rounding.
    """

    key: int
    outputs: int
    inputs: int

    def add_factors(self, a: Float[Tensor, "n s d"], g: Float[Tensor, "n k s o"], sums: Sums) -> None:
        """Add the sketch of the gradient that has these factors."""
        length = length_for(sums.dim, self.inputs, self.outputs)
        moved_signs, offsets, kept_signs = self._random(length, a)
        total = sums.transformed(length)
        n, k, s, _ = g.shape
        positions = max(1, min(s, TRANSFORMED // length))
        samples = max(1, TRANSFORMED // (positions * length * (1 + k)))
        for start in range(0, n, samples):
            part = slice(start, min(start + samples, n))
            for first in range(0, s, positions):
                at = slice(first, min(first + positions, s))
                inputs, outputs = a[part, None, at], g[part, :, at]
                kept, moved = (inputs, outputs) if self._inputs_stay else (outputs, inputs)
                left = torch.fft.rfft(kept * kept_signs, n=length)
                placed = moved.new_zeros(*moved.shape[:-1], length)
                placed[..., offsets] = moved * moved_signs
                right = torch.fft.rfft(placed)
                total[part] += (left * right).sum(dim=2) if left.shape[2] > 1 else (left * right)[:, :, 0]

    def add_written(self, rows: Float[Tensor, "n k o d"], sums: Sums) -> None:
        """Add the sketch of gradients that are written out."""
        length = length_for(sums.dim, self.inputs, self.outputs)
        moved_signs, offsets, kept_signs = self._random(length, rows)
        total = sums.plain(length)
        for j, (offset, sign) in enumerate(zip(offsets.tolist(), moved_signs.tolist(), strict=True)):
            row = rows[:, :, j] if self._inputs_stay else rows[..., j]
            add_moved(row * (kept_signs * sign), offset, total)

    @property
    def _inputs_stay(self) -> bool:
        return self.inputs >= self.outputs

    def _random(self, length: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Signs and offsets of the shorter side, and signs of the longer one."""
        moved, kept = sorted((self.inputs, self.outputs))
        offsets = random_offsets(key_of(self.key, "offsets"), moved, length, like.device)
        return (
            random_signs(key_of(self.key, "moved"), moved, like),
            offsets,
            random_signs(key_of(self.key, "kept"), kept, like),
        )


def add_lookups(indices: Int[Tensor, "n s"], outputs: Float[Tensor, "n k s o"], key: int, sums: Sums) -> None:
    """Add the sketch of the gradients of an embedding table: every entry has a random offset and sign.

    Index -1 is left out. Entries of different indices may have the same offset; their signs are still independent.
    """
    k, o = outputs.shape[1], outputs.shape[3]
    length = length_for(sums.dim, o)
    total = sums.plain(length)
    bits = random_bits(key_of(key, "entries"), indices)
    signs = torch.where(indices >= 0, 2 * (bits & 1) - 1, 0).to(outputs.dtype)
    signed = outputs * random_signs(key_of(key, "outputs"), o, outputs) * signs[:, None, :, None]
    places = ((bits >> 1) % length)[..., None] + torch.arange(o, device=outputs.device)
    places = (places % length).flatten(1)[:, None].expand(-1, k, -1)
    total.scatter_add_(2, places, signed.flatten(2))


def add_table(rows: Float[Tensor, "n k entries o"], key: int, sums: Sums) -> None:
    """Add the sketch that `add_lookups` gives, of a table's gradients that are written out."""
    n, k, entries, o = rows.shape
    step = max(1, TRANSFORMED // (n * k * o))
    for start in range(0, entries, step):
        part = slice(start, min(start + step, entries))
        indices = torch.arange(part.start, part.stop, device=rows.device).expand(n, -1)
        add_lookups(indices, rows[:, :, part], key, sums)
