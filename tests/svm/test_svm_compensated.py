from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from svm_problems import normal

from afterkernel.svm.compensated import add, exact_sum, remainder, slice_bits, split

moderate = st.floats(-1e12, 1e12, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-12)


def exact(*tensors):
    return [sum(Fraction(value) for value in values) for values in zip(*(x.tolist() for x in tensors), strict=True)]


@given(st.integers(0, 1000), st.integers(5, 26), st.integers(-20, 20))
def test_split_is_exact_and_its_first_part_short(seed, bits, exponent):
    x = normal(50, seed=seed) * 2.0**exponent
    largest = float(x.abs().max())
    high, rest = split(x, bits, largest)
    assert exact(high, rest) == exact(x)
    assert float(rest.abs().max()) <= 2.0**-bits * 2 * largest
    unit = next(2.0**k for k in range(-100, 100) if 2.0**k > largest) / 2**bits
    assert bool((high / unit == (high / unit).round()).all())


def test_split_of_zero():
    high, rest = split(torch.zeros(3, dtype=torch.float64), 20, 0.0)
    assert not high.any()
    assert not rest.any()


@pytest.mark.parametrize("terms", [1, 2, 200, 12_000, 100_000])
def test_products_of_slices_sum_exactly(terms):
    assert terms * 2 ** (2 * slice_bits(terms)) <= 2**53


@given(moderate, moderate)
def test_add(x, step):
    high, low = add(*(torch.tensor([v], dtype=torch.float64) for v in (x, 0.0, step)))
    assert exact(high, low) == [Fraction(x) + Fraction(step)]
    assert float(high) == x + step


@given(moderate, moderate.filter(bool))
def test_remainder(x, divisor):
    top = torch.tensor([x], dtype=torch.float64)
    quotient = top / divisor
    left = float(remainder(top, quotient, divisor))
    assert left == pytest.approx(
        float(Fraction(x) - Fraction(float(quotient)) * Fraction(divisor)), rel=1e-12, abs=1e-40
    )


def test_exact_sum():
    assert exact_sum(torch.tensor([1e16, 1.0, -1e16]).double(), torch.tensor([0.25, 0.0, 0.0]).double()) == 1.25
