import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterkernel.errors import UserError
from afterkernel.measures import effective_rank
from afterkernel.measures.effective_rank import EXACT_UP_TO, largest_eigenvalue


def with_spectrum(values, seed=0):
    values = torch.as_tensor(values, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator, dtype=torch.float64)).Q
    K = (basis * values) @ basis.T
    return (K + K.T) / 2


@settings(deadline=None)
@given(st.integers(1, 40), st.floats(1e-6, 1e6))
def test_rank_of_the_identity_is_n(n, scale):
    assert effective_rank(torch.eye(n) * scale) == pytest.approx(n, rel=1e-6)


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(0, 10**6))
def test_rank_lies_between_1_and_n(n, seed):
    factors = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert 1 - 1e-9 <= effective_rank(factors @ factors.T) <= min(n, 3) + 1e-9


def test_by_hand():
    assert effective_rank(torch.diag(torch.tensor([4.0, 2, 1, 1]))) == pytest.approx(2, rel=1e-14)
    assert effective_rank(torch.ones(9, 9)) == pytest.approx(1, rel=1e-14)


SPECTRA = {
    "one large": [1000.0, *[1.0] * 59],
    "close pair": [1.0, 1 - 1e-6, *[0.5] * 40],
    "twice the largest": [2.0, 2.0, *[1.0] * 30],
    "flat": [1.0] * 50,
    "evenly spread": torch.linspace(0, 1, 120).tolist(),
    "low rank": [3.0, 2.0, *[0.0] * 60],
    "larger but negative": [1.0, *[0.1] * 30, -5.0],
}


@pytest.mark.parametrize("values", SPECTRA.values(), ids=SPECTRA.keys())
def test_lanczos_finds_the_largest_eigenvalue(values):
    assert largest_eigenvalue(with_spectrum(values)) == pytest.approx(max(values), rel=1e-10)


def test_large_kernels_agree_with_all_eigenvalues():
    n = EXACT_UP_TO + 50
    factors = torch.randn(n, 30, generator=torch.Generator().manual_seed(0)) + 0.3
    K = factors @ factors.T
    # The 30 positive eigenvalues of K are those of the small product; K itself is rounded to float32.
    exact = K.double().diagonal().sum() / torch.linalg.eigvalsh(factors.double().T @ factors.double())[-1]
    assert effective_rank(K) == pytest.approx(exact.item(), rel=1e-6)
    assert effective_rank(K) == effective_rank(K.clone())
    assert K.dtype == torch.float32


@pytest.mark.parametrize(
    ("K", "message"),
    [
        (torch.ones(2, 3), "square"),
        (torch.ones(4), "two dimensions"),
        (torch.zeros(3, 3), "only zeros"),
        (torch.full((2, 2), float("nan")), "NaN"),
        (torch.tensor([[1.0, 5], [0, 1]]), "not symmetric"),
        (-torch.eye(3), "no positive eigenvalue"),
    ],
)
def test_errors_are_reported(K, message):
    with pytest.raises(UserError, match=message):
        effective_rank(K)
