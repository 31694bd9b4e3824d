"""Products of float32 numbers by three products of TF32 numbers, which tensor cores multiply several times as fast.

A float32 number a is split a = hi + lo + rest: hi is a rounded to TF32 (11 significant bits), lo is a - hi rounded
likewise, and |rest| <= 2^-22 |a|. Then

    a b = hi(a) hi(b) + hi(a) lo(b) + lo(a) hi(b)    up to 3 * 2^-22 |a b|,

and a product of two TF32 numbers is exact in float32. Tensor cores truncate as they add up, so that long sums are made
outside them (Ootomo and Yokota, arXiv 2203.03341).
"""

from __future__ import annotations

import torch

from afterkernel.kernels.precision import exact_products
from afterkernel.types import Float, Tensor

# Columns of hi hi^T that are added up within one product; the products are added up in float32.
SUMMED = 256
# Numbers of rows and columns that are split at once, which takes up to four times their memory.
SPLIT = 1 << 22
# Rounds 24 significant bits to 11 (Dekker 1971; Veltkamp 1968).
_VELTKAMP = float(2**13 + 1)


def add_split_products(rows: Float[Tensor, "n p"], columns: Float[Tensor, "m p"], out: Float[Tensor, "n m"]) -> None:
    """out += rows columns^T, all float32, by products of numbers split in two.

    On a CPU, which has no TF32, the same three products are computed in float32.
    """
    at_once = max(1, SPLIT // (SUMMED * max(1, len(rows) + len(columns)))) * SUMMED
    with exact_products(tf32=rows.is_cuda):
        for left, right in zip(torch.split(rows, at_once, dim=1), torch.split(columns, at_once, dim=1), strict=True):
            (hi, lo), (others_hi, others_lo) = split(left), split(right)
            # Errors in these two sums count 2^-11 times as much as in the third.
            total = torch.mm(hi, others_lo.T).addmm_(lo, others_hi.T)
            for a, b in zip(torch.split(hi, SUMMED, dim=1), torch.split(others_hi, SUMMED, dim=1), strict=True):
                if total.is_cuda:
                    total.addmm_(a, b.T)
                else:  # whose addmm_ adds each number to the total, not their sum
                    total += a @ b.T
            out += total


def split(a: Float[Tensor, "n p"]) -> tuple[Float[Tensor, "n p"], Float[Tensor, "n p"]]:
    """hi and lo, two TF32 numbers for each float32 number, as float32.

    Numbers above 4e34 become NaN, never wrong; their squares are not float32 numbers either.
    """
    hi = rounded_to_tf32(a)
    return hi, rounded_to_tf32(a - hi)


def rounded_to_tf32(a: Float[Tensor, "n p"]) -> Float[Tensor, "n p"]:
    """float32 numbers rounded to the nearest with 10 bits after the leading one."""
    scaled = a * _VELTKAMP
    return scaled - (scaled - a)
