import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import afterkernel.measures.matrices as matrices
from afterkernel.errors import UserError
from afterkernel.measures import alignment, cka


def gram(n=6, p=4, seed=0, dtype=torch.float64):
    factors = torch.randn(n, p, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (factors @ factors.T).to(dtype)


def numpy_cka(K, C):
    n = len(K)
    H = np.eye(n) - np.ones((n, n)) / n
    K, C = H @ K.double().numpy() @ H, H @ C.double().numpy() @ H
    return (K * C).sum() / math.sqrt((K * K).sum() * (C * C).sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agree_with_numpy(dtype, monkeypatch):
    monkeypatch.setattr(matrices, "_ENTRIES", 37)
    K, C = gram(11, 4, 0, dtype), gram(11, 3, 1, dtype)
    k, c = K.double().numpy(), C.double().numpy()
    expected = (k * c).sum() / math.sqrt((k * k).sum() * (c * c).sum())
    assert alignment(K, C) == pytest.approx(expected, rel=1e-12)
    assert cka(K, C) == pytest.approx(numpy_cka(K, C), rel=1e-12)


def test_by_hand():
    eye, ones = torch.eye(2), torch.ones(2, 2)
    assert alignment(eye, ones) == pytest.approx(2 / math.sqrt(2 * 4), rel=1e-15)
    assert alignment(eye, torch.tensor([[0.0, 1], [1, 0]])) == 0
    # Centred, the identity of 2 is (1, -1; -1, 1) / 2, and so is the other one's direction.
    assert cka(eye, torch.tensor([[4.0, 1], [1, 4]])) == pytest.approx(1, rel=1e-15)
    assert cka(eye, torch.tensor([[1.0, 4], [4, 1]])) == pytest.approx(-1, rel=1e-15)


def test_alignment_of_kernels_between_two_sets():
    assert alignment(torch.tensor([[3.0, 4, 0]]), torch.tensor([[3.0, 0, 4]])) == pytest.approx(9 / 25, rel=1e-15)


@settings(deadline=None)
@given(st.integers(2, 8), st.integers(0, 10**6), st.floats(1e-150, 1e150), st.floats(1e-150, 1e150))
def test_scale_does_not_matter(n, seed, k_scale, c_scale):
    K, C = gram(n, 3, seed), gram(n, 3, seed + 1)
    assert alignment(K * k_scale, C * c_scale) == pytest.approx(alignment(K, C), rel=1e-10)
    assert cka(K * k_scale, C * c_scale) == pytest.approx(cka(K, C), rel=1e-10)
    assert -1e-12 <= alignment(K, C) <= 1 + 1e-12
    assert alignment(K, K) == pytest.approx(1, rel=1e-12)


@settings(deadline=None)
@given(st.integers(3, 8), st.integers(0, 10**6))
def test_cka_does_not_change_when_an_embedding_is_moved(n, seed):
    generator = torch.Generator().manual_seed(seed)
    factors = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    moved = factors + 3 * torch.randn(1, 4, generator=generator, dtype=torch.float64)
    C = gram(n, 3, seed + 1)
    assert cka(moved @ moved.T, C) == pytest.approx(cka(factors @ factors.T, C), abs=1e-10)
    assert cka(C, C) == pytest.approx(1, rel=1e-10)


def test_symmetry_and_mixed_data_types():
    K, C = gram(6, 4, 0), gram(6, 4, 1, torch.float32)
    assert alignment(K, C) == pytest.approx(alignment(C, K), rel=1e-14)
    assert cka(K, C) == pytest.approx(cka(C.double(), K), rel=1e-14)


@pytest.mark.parametrize("measure", [alignment, cka])
@pytest.mark.parametrize(
    ("K", "C", "message"),
    [
        (torch.eye(3), torch.eye(4), "K has shape .3, 3. and C .4, 4.: both must be of the same images"),
        (torch.ones(3), torch.ones(3), "two dimensions"),
        (torch.ones(0, 0), torch.ones(0, 0), "two dimensions"),
        (torch.eye(3), torch.zeros(3, 3), "C contains only zeros"),
        (torch.eye(3) * math.nan, torch.eye(3), "K holds NaN or infinity"),
        (torch.eye(3), torch.eye(3) * math.inf, "C holds NaN or infinity"),
    ],
)
def test_errors_are_reported(measure, K, C, message):
    with pytest.raises(UserError, match=message):
        measure(K, C)


def test_cka_needs_square_kernels_that_vary():
    with pytest.raises(UserError, match="square"):
        cka(torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(UserError, match="C is zero after centring"):
        cka(torch.eye(7), torch.full((7, 7), 0.1))
