"""The mathematics of a layer's tangent kernel, apart from how its factors are collected. Pure functions.

A layer whose weight W (o, d) maps inputs a_s to outputs W a_s at positions s (the pixels of a convolution, the tokens
of a sequence; one position for a plain linear layer) has, for the sample x, the gradient

    d f(x) / d W = sum_s g_s a_s^T,    g_s = d f(x) / d output_s,

and so the tangent kernel (Goodfellow, arXiv 1510.01799; Novak et al., arXiv 2206.08720, section 3)

    <d f(x) / d W, d f(y) / d W> = sum_{s,t} <a_s(x), a_t(y)> <g_s(x), g_t(y)>.

Legend of the letters in shapes:
    n, m    samples of the rows and of the columns of a Gram matrix
    k       outputs of the network kept apart (1 but for the full kernel of several outputs)
    q       groups of a grouped convolution
    s, t    positions
    d, o    inputs and outputs of the layer at one position (d counts a constant 1 where there is a bias)
    p       parameters
Rows and columns of the matrices `out` count sample by sample, and the outputs of each sample within it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F

from afterkernel.kernels.precision import products_are_split
from afterkernel.kernels.split import add_split_products
from afterkernel.types import Float, Int, Tensor

# Numbers in the largest intermediate of a contraction over positions.
INTERMEDIATE = 1 << 21
# Numbers that are widened to float64 at once on a CPU: past its caches this takes ten times as long.
WIDENED = 1 << 17
# Numbers of gradients that are written out at once for a product, for the rows and for the columns.
EXPANDED = 1 << 25
# Numbers that are multiplied at once on a GPU, before they are added up.
MULTIPLIED = 1 << 26


@dataclass(frozen=True)
class Window:
    """What a convolution sees at each position; one number per direction, `padding` before and after with zeros."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]

    def positions(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Positions along each direction of an image of these sizes."""
        each = zip(sizes, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((size + sum(pad) - d * (k - 1) - 1) // step + 1 for size, k, step, pad, d in each)


def image_patches(
    a: Float[Tensor, "n c ..."],
    window: Window,
    groups: int,
    positions: tuple[int, ...] | None = None,
    *,
    bias: bool,
) -> Float[Tensor, "n q s d"]:
    """What each position of a convolution sees: rows of kernel height x kernel width x channels of its group.

    `positions` are how many there are along each direction, by default all; with `bias` a constant 1 is appended. The
    result is contiguous. (torch's own unfold is several times slower on a CPU, and orders the channels first.)
    """
    n, c = a.shape[:2]
    counts = positions or window.positions(a.shape[2:])
    around = [side for pad in reversed(window.padding) for side in pad]
    padded = F.pad(a.movedim(1, -1), (0, 0, *around)).contiguous()
    strides = padded.stride()[1:-1]
    per_group = c // groups
    windows = padded.as_strided(
        (n, groups, *counts, *window.kernel, per_group),
        (
            padded.stride(0),
            per_group,
            *(by * step for by, step in zip(strides, window.stride, strict=True)),
            *(by * d for by, d in zip(strides, window.dilation, strict=True)),
            1,
        ),
    )
    d = prod(window.kernel) * per_group
    patches = a.new_empty(n, groups, prod(counts), d + bias)
    patches[..., :d].view(n, groups, *counts, *window.kernel, per_group).copy_(windows)
    if bias:
        patches[..., d] = 1
    return patches


def weight_gradients(
    a: Float[Tensor, "n q s d"], g: Float[Tensor, "n k q s o"], out: Float[Tensor, "n k p"] | None = None
) -> Float[Tensor, "n k p"]:
    """Gradients sum_s g_s a_s^T of a weight for each sample and output, flattened (p = q o d); into `out` if given."""
    n, k, q, _, o = g.shape
    d = a.shape[-1]
    if out is None:
        out = a.new_empty(n, k, q * o * d)
    if q == 1:
        outputs = g[:, :, 0].transpose(2, 3).reshape(n, k * o, -1)
        torch.bmm(outputs, a[:, 0], out=out.view(n, k * o, d))
    else:
        out.view(n, k, q, o, d).copy_(g.transpose(-1, -2) @ a[:, None])
    return out


def add_gradient_products(
    rows: Float[Tensor, "nk p"], columns: Float[Tensor, "mk p"], out: Float[Tensor, "nk mk"]
) -> None:
    """out += rows columns^T. Rows narrower than `out` are multiplied exactly and added up in the type of `out`.

    float32 rows are split where `exact_products` says so.
    """
    if rows.dtype == out.dtype == torch.float32 and products_are_split():
        add_split_products(rows, columns, out)
    elif rows.dtype == out.dtype:
        out.addmm_(rows, columns.T)
    elif rows.is_cuda:
        out += torch.mm(rows, columns.T, out_dtype=out.dtype)
    else:
        out.addmm_(rows.to(out.dtype), columns.to(out.dtype).T)


def add_factor_products(
    a: Float[Tensor, "n q s d"],
    g: Float[Tensor, "n k q s o"],
    b: Float[Tensor, "m q t d"],
    h: Float[Tensor, "m k q t o"],
    out: Float[Tensor, "nk mk"],
) -> None:
    """out += sum_{s,t} <a_s, b_t> <g_s, h_t>, summed over groups, without a gradient ever being formed."""
    n, k, q, s, _ = g.shape
    m, t = h.shape[0], h.shape[3]
    target = out.view(n, k, m, k)
    if s == t == q == 1:
        inputs = _products(a[:, 0, 0], b[:, 0, 0], out.dtype)
        outputs = _products(g[:, :, 0, 0].flatten(0, 1), h[:, :, 0, 0].flatten(0, 1), out.dtype)
        target.addcmul_(inputs[:, None, :, None], outputs.view(n, k, m, k))
        return
    for down, across in _tiles(n, m, s * t * k * k):
        for group in range(q):
            inputs = _products(a[down, group].flatten(0, 1), b[across, group].flatten(0, 1), out.dtype)
            outputs = _products(g[down, :, group].flatten(0, 2), h[across, :, group].flatten(0, 2), out.dtype)
            left, right = len(a[down]), len(b[across])
            both = inputs.view(left, 1, s, right, 1, t) * outputs.view(left, k, s, right, k, t)
            target[down, :, across] += both.sum(dim=(2, 5))


def add_expanded_products(
    a: Float[Tensor, "n q s d"],
    g: Float[Tensor, "n k q s o"],
    b: Float[Tensor, "m q t d"],
    h: Float[Tensor, "m k q t o"],
    out: Float[Tensor, "nk mk"],
) -> None:
    """out += the same, by gradients that are written out for some samples at a time: cheaper for few positions."""
    n, k, q, _, o = g.shape
    at_once = max(1, EXPANDED // (k * q * o * a.shape[-1]))

    def written(inputs: Tensor, outputs: Tensor, part: slice) -> Float[Tensor, "rk p"]:
        return weight_gradients(inputs[part].to(out.dtype), outputs[part].to(out.dtype)).flatten(0, 1)

    for start in range(0, n, at_once):
        down = slice(start, min(start + at_once, n))
        rows = written(a, g, down)
        for first in range(0, len(b), at_once):
            across = slice(first, min(first + at_once, len(b)))
            same = g[down].data_ptr() == h[across].data_ptr() and g[down].shape == h[across].shape
            columns = rows if same else written(b, h, across)
            tile = out[down.start * k : down.stop * k, across.start * k : across.stop * k]
            add_gradient_products(rows, columns, tile)


def _tiles(n: int, m: int, numbers: int) -> Iterator[tuple[slice, slice]]:
    """Samples of rows and of columns whose intermediates, of so many numbers per pair, are few enough."""
    across = max(1, min(m, INTERMEDIATE // max(1, numbers)))
    down = max(1, INTERMEDIATE // max(1, across * numbers))
    for start in range(0, n, down):
        for first in range(0, m, across):
            yield slice(start, min(start + down, n)), slice(first, min(first + across, m))


def add_lookup_products(
    i: Int[Tensor, "n s"],
    g: Float[Tensor, "n k s o"],
    j: Int[Tensor, "m t"],
    h: Float[Tensor, "m k t o"],
    out: Float[Tensor, "nk mk"],
) -> None:
    """out += sum_{s,t} [i_s = j_t] <g_s, h_t>: an embedding table, with one-hot inputs. Index -1 matches nothing."""
    n, k, s, _ = g.shape
    m, t = j.shape
    target = out.view(n, k, m, k)
    for down, across in _tiles(n, m, s * t * k * k):
        outputs = _products(g[down].flatten(0, 2), h[across].flatten(0, 2), out.dtype)
        left, right = i[down].reshape(-1, 1, s, 1, 1, 1), j[across].reshape(1, 1, 1, -1, 1, t)
        both = torch.where((left == right) & (right >= 0), outputs.view(len(left), k, s, right.shape[3], k, t), 0)
        target[down, :, across] += both.sum(dim=(2, 5))


def lookup_gradients(i: Int[Tensor, "n s"], g: Float[Tensor, "n k s o"], entries: int) -> Float[Tensor, "n k p"]:
    """Gradients of an embedding table with that many entries, flattened; index -1 is left out."""
    n, k, s, o = g.shape
    table = g.new_zeros(n, k, entries + 1, o)
    index = torch.where(i >= 0, i, entries)[:, None, :, None].expand(n, k, s, o)
    return table.scatter_add_(2, index, g)[:, :, :entries].flatten(2)


def paired_factor_products(
    a: Float[Tensor, "n q s d"],
    g: Float[Tensor, "n k q s o"],
    b: Float[Tensor, "n q t d"],
    h: Float[Tensor, "n k q t o"],
) -> Float[Tensor, " n"]:
    """Inner products of the weight gradients of paired samples, summed over outputs, in float64."""
    n, k, q, s, _ = g.shape
    t = h.shape[3]
    if s == t == q == 1:
        inputs = paired_gradient_products(a.flatten(1), b.flatten(1))
        return inputs * paired_gradient_products(g.flatten(1), h.flatten(1))
    totals = []
    for part in _parts(n, max(k * q * s * t, a[0].numel() + b[0].numel() + g[0].numel() + h[0].numel())):
        inputs = a[part].double() @ b[part].double().transpose(-1, -2)
        outputs = g[part].double() @ h[part].double().transpose(-1, -2)
        totals.append((inputs[:, None] * outputs).sum(dim=(1, 2, 3, 4)))
    return torch.cat(totals)


def paired_lookup_products(
    i: Int[Tensor, "n s"], g: Float[Tensor, "n k s o"], j: Int[Tensor, "n t"], h: Float[Tensor, "n k t o"]
) -> Float[Tensor, " n"]:
    """Inner products of the gradients of paired samples in an embedding table, summed over outputs, in float64."""
    totals = []
    for part in _parts(len(i), max(g.shape[1] * i.shape[1] * j.shape[1], g[0].numel() + h[0].numel())):
        same = (i[part, :, None] == j[part, None, :]) & (i[part] >= 0)[:, :, None]
        products = g[part].double() @ h[part].double().transpose(-1, -2)
        totals.append(torch.where(same[:, None], products, 0).sum(dim=(1, 2, 3)))
    return torch.cat(totals)


def _parts(n: int, numbers: int) -> Iterator[slice]:
    """Samples whose intermediates, of so many numbers each, are few enough."""
    at_once = max(1, INTERMEDIATE // max(1, numbers))
    for start in range(0, n, at_once):
        yield slice(start, min(start + at_once, n))


def paired_gradient_products(a: Float[Tensor, "n p"], b: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
    """Inner products of paired rows, added up in float64.

    On a CPU multiplied in it too, as many columns at a time as stay in the caches once widened; a GPU, which memory
    holds up, rounds each product to the rows' own precision first.
    """
    on_cpu = a.device.type == "cpu"
    columns = max(1, (WIDENED if on_cpu else MULTIPLIED) // max(1, len(a)))
    totals = []
    for left, right in zip(torch.split(a, columns, dim=1), torch.split(b, columns, dim=1), strict=True):
        if on_cpu:
            wide = left.double()
            totals.append(torch.linalg.vecdot(wide, wide if b is a else right.double()))
        else:
            totals.append((left * right).sum(dim=1, dtype=torch.float64))
    return added(totals)


def added(parts: list[Tensor]) -> Tensor:
    """The sum of tensors of one shape. (On a GPU every operation that can be left out counts, however small.)"""
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(dim=0)


def _products(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], dtype: torch.dtype) -> Float[Tensor, "n m"]:
    if a.dtype == dtype and not products_are_split():
        return a @ b.T
    out = torch.zeros(len(a), len(b), dtype=dtype, device=a.device)
    add_gradient_products(a, b, out)
    return out
