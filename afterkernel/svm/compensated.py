"""Sums whose large terms cancel: products in float64 as good as those of twice its precision."""

from __future__ import annotations

import math

import torch

from afterkernel.types import Float, Tensor

MANTISSA = 53
LARGEST_EXPONENT = 1020


def slice_bits(terms: int) -> int:
    """How many bits two factors may have each, for a sum of so many products of theirs to be exact in float64."""
    return (MANTISSA - math.ceil(math.log2(max(terms, 2)))) // 2


def split(x: Float[Tensor, "*s"], bits: int, largest: float) -> tuple[Float[Tensor, "*s"], Float[Tensor, "*s"]]:
    """(high, rest), x = high + rest exactly, for |x| <= `largest`; high: multiples, of `bits` bits, of one power of 2.

    Adding and subtracting 1.5 * 2^52 such units rounds to a multiple of them (K. Ozaki, T. Ogita, S. Oishi and
    S. M. Rump, "Error-free transformations of matrix multiplication", Numerical Algorithms 59, 2012).
    """
    if largest == 0:
        return torch.zeros_like(x), x
    exponent = MANTISSA - 1 + math.frexp(largest)[1] - bits
    if exponent > LARGEST_EXPONENT:
        high, _ = split(x * 2.0**-MANTISSA, bits, largest * 2.0**-MANTISSA)
        high = high * 2.0**MANTISSA
    else:
        rounder = 1.5 * 2.0**exponent
        high = (x + rounder) - rounder
    return high, x - high


def add(
    high: Float[Tensor, " k"], low: Float[Tensor, " k"], step: Float[Tensor, " k"]
) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """The pair high + low, plus `step`, as a pair again: its first part is the sum rounded to float64.

    D. E. Knuth's exact sum of two numbers ("The Art of Computer Programming", vol. 2, 4.2.2).
    """
    total = high + step
    part = total - high
    low = low + ((high - (total - part)) + (step - part))
    rounded = total + low
    return rounded, low - (rounded - total)


def exact_sum(high: Float[Tensor, " k"], low: Float[Tensor, " k"]) -> float:
    """The sum of all entries of a pair, as if summed in twice the precision."""
    return math.fsum(torch.cat([high, low]).tolist())


def remainder(x: Float[Tensor, " k"], quotient: Float[Tensor, " k"], divisor: float) -> Float[Tensor, " k"]:
    """x - quotient * divisor, the product exact (T. J. Dekker's splitting into halves of the digits)."""
    c = 2.0**27 + 1
    q_high = c * quotient - (c * quotient - quotient)
    d_high = c * divisor - (c * divisor - divisor)
    q_low, d_low = quotient - q_high, divisor - d_high
    return (((x - q_high * d_high) - q_high * d_low) - q_low * d_high) - q_low * d_low
