import numpy as np
import pytest
from svm_problems import normal

from afterkernel.svm.gram_factor import gram_factor


@pytest.mark.parametrize("rank", [7, 80])
def test_gram_factor(rank):
    X = normal(80, rank).numpy()
    K = X @ X.T / (X**2).sum(1).max()
    F = gram_factor(K.copy(), 1e-14)
    assert F.shape == (80, rank)
    assert np.abs(F @ F.T - K).max() < 1e-12


def test_gram_factor_of_an_indefinite_matrix_is_that_of_its_positive_part():
    U = np.linalg.qr(normal(30, 30).numpy())[0]
    values = np.linspace(-0.5, 2, 30)
    F = gram_factor((U * values) @ U.T, 1e-14)
    assert np.abs(F @ F.T - (U * values.clip(min=0)) @ U.T).max() < 1e-12
