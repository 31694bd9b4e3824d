"""The scale of kernels, by hand and as runs use it."""

import pytest
import torch

import afterkernel as ak
from afterkernel.measures.normalisation import embedding_norm


def test_it_is_the_kernel_of_embeddings_divided_by_their_mean_length():
    phi = torch.tensor([[3.0, 4.0], [0.0, 1.0]], dtype=torch.float64)
    new = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    K, K_test = phi @ phi.T, new @ phi.T
    Z = 3 + 1e-4
    found, found_test = ak.normalise(K, K_test)
    torch.testing.assert_close(found, (phi / Z) @ (phi / Z).T)
    torch.testing.assert_close(found_test, (new / Z) @ (phi / Z).T)
    torch.testing.assert_close(ak.normalise(K), found)
    assert embedding_norm(K) == pytest.approx(Z, rel=1e-14)
    assert torch.equal(K, phi @ phi.T)
    assert torch.equal(K_test, new @ phi.T)


def test_margins_of_a_kernel_and_its_multiple_are_the_same_after_it():
    phi = torch.randn(20, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    K, y = phi @ phi.T, torch.arange(20) % 2
    one, other = (ak.HardMarginSVM().fit(ak.normalise(scale * K), y).margin_ for scale in (1, 1e4))
    assert one == pytest.approx(other, rel=1e-4)  # but for the 1e-4 in Z
    assert ak.HardMarginSVM().fit(1e4 * K, y).margin_ == pytest.approx(100 * ak.HardMarginSVM().fit(K, y).margin_)


def test_what_is_no_kernel_is_refused():
    with pytest.raises(ak.UserError, match="-1 on its diagonal"):
        ak.normalise(-torch.eye(3))
    with pytest.raises(ak.UserError, match="K holds NaN or infinity"):
        ak.normalise(torch.full((3, 3), torch.nan))
    with pytest.raises(ak.UserError, match="K_test holds NaN or infinity"):
        ak.normalise(torch.eye(3), torch.full((2, 3), torch.inf))
