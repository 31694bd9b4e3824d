import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from measure_cases import measured, net, normed, problem

import afterkernel as ak
from afterkernel.errors import UserError


def gram(n=12, p=9, seed=0):
    factors = torch.randn(n, p, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return factors @ factors.T


def labels(n, seed=0):
    return torch.randint(2, (n,), generator=torch.Generator().manual_seed(seed))


def test_numbers_of_a_run_agree_with_scipy_on_raw_embeddings():
    given_problem, model = problem(), net()
    found = measured(model, given_problem, eigenvalues=4, decay_ranks=[2, 20])
    y = given_problem.y_train.numpy() * 2.0 - 1
    for name in ("ntk", "conjugate"):
        train, _, _ = normed(model, given_problem, name)
        # From the singular values of the embedding, not from K.
        left, singular, _ = scipy.linalg.svd(train, full_matrices=False)
        values = singular**2 / len(train)
        for i in range(4):
            assert found[name][f"eigenvalue_{i + 1}"] == pytest.approx(values[i], rel=1e-6)
        energy = ((left[:, :4][:, values[:4] > 1e-12].T @ y) ** 2).sum() / len(y)
        assert found[name]["label_energy_4"] == pytest.approx(energy, abs=1e-6)
        kept = values[1:20][values[1:20] > 1e-12]
        slope = np.polyfit(np.log(np.arange(2, 2 + len(kept))), np.log(kept), 1)[0]
        assert found[name]["decay_exponent"] == pytest.approx(-slope, rel=1e-6)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.5])
def test_a_power_law_has_its_exponent(exponent):
    n = 60
    basis = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64)).Q
    K = (basis * torch.arange(1.0, n + 1, dtype=torch.float64) ** -exponent) @ basis.T
    K = (K + K.T) / 2
    assert ak.spectrum(K).decay_exponent(5, 50) == pytest.approx(exponent, rel=1e-9)
    assert ak.spectrum(K).label_energy is None


def test_eigenvalues_that_may_be_rounding_errors_are_not_fitted():
    found = ak.spectrum(gram(20, 13).float())
    assert int((found.eigenvalues > found.floor).sum()) == 13
    assert found.decay_exponent(11, 20) == found.decay_exponent(11, 13)
    assert found.decay_exponent(12, 20) is None


def test_labels_by_hand():
    y = torch.tensor([0, 1, 1, 0])
    sign = y * 2.0 - 1
    found = ak.spectrum(torch.outer(sign, sign) + 0.5, y)
    # The other direction, of ones, is orthogonal to these labels.
    torch.testing.assert_close(found.eigenvalues, torch.tensor([1, 0.5, 0, 0], dtype=torch.float64))
    torch.testing.assert_close(found.label_energy, torch.ones(4, dtype=torch.float64))


def test_labels_outside_the_range_of_the_kernel_count_nowhere():
    # One direction for ten images: nine eigenvectors are arbitrary, and have eigenvalue 0.
    found = ak.spectrum(torch.ones(10, 10), torch.tensor([1] * 7 + [0] * 3))
    torch.testing.assert_close(found.label_energy, torch.full((10,), 0.16, dtype=torch.float64))


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 12), st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_scale_and_order_of_images(n, seed, scale):
    K, y = gram(n, 30, seed), labels(n, seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    one, other = ak.spectrum(K, y), ak.spectrum(K[order][:, order] * scale, y[order])
    torch.testing.assert_close(other.eigenvalues, one.eigenvalues * scale)
    torch.testing.assert_close(other.label_energy, one.label_energy, atol=1e-6, rtol=0)
    assert one.label_energy[-1] == pytest.approx(1, rel=1e-12)
    assert (one.label_energy.diff() >= -1e-15).all()
    assert one.eigenvalues.sum() == pytest.approx(K.trace().item() / n, rel=1e-12)


def test_fewer_images_than_eigenvalues_leave_none():
    found = measured(net(), problem(4, 4), eigenvalues=6)["ntk"]
    assert found["eigenvalue_4"] is not None
    assert found["eigenvalue_5"] is found["eigenvalue_6"] is found["decay_exponent"] is None
    assert found["label_energy_6"] == pytest.approx(1)


def test_errors_are_reported():
    with pytest.raises(UserError, match="not symmetric: the spectrum needs a Gram matrix"):
        ak.spectrum(torch.tensor([[1.0, 5], [0, 1]]))
    with pytest.raises(UserError, match=r"y has shape \(3,\): K has 2 samples"):
        ak.spectrum(torch.eye(2), torch.zeros(3))
    with pytest.raises(UserError, match="labels must be 0 and 1"):
        ak.spectrum(torch.eye(2), torch.tensor([1, 2]))
    with pytest.raises(UserError, match=r"ranks=\[0,9\] is not a range of ranks"):
        ak.spectrum(torch.eye(9)).decay_exponent(0, 9)
