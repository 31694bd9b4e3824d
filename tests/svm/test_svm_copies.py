"""Samples with the embedding of one of another class, against the same comparison on integer embeddings."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from afterkernel.svm import copies
from afterkernel.svm.copies import copied_samples

SMALL = st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2), st.integers(0, 2)), min_size=1, max_size=12)


def same_direction(a, b):
    """For vectors of integers: parallel (all 2 x 2 minors are 0), with a positive inner product."""
    return np.dot(a, b) > 0 and not (np.outer(a, b) - np.outer(b, a)).any()


def by_definition(phi, y):
    n = len(phi)
    return [any(y[i] != y[j] and same_direction(phi[i], phi[j]) for j in range(n)) for i in range(n)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(rows=SMALL, entries=st.sampled_from([1, 7, 2**17]))
def test_samples_with_the_direction_of_one_of_another_class(dtype, rows, entries):
    *phi, y = np.array(rows).T
    phi = np.array(phi).T
    K = torch.tensor(phi @ phi.T, dtype=dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(copies.ENTRIES_AT_ONCE, "cpu", entries)
        found = copied_samples(K, torch.tensor(y))
    assert found.tolist() == by_definition(phi, y)


@pytest.mark.parametrize(("dtype", "below", "above"), [(torch.float32, 7e-4, 1e-2), (torch.float64, 1e-9, 1e-6)])
def test_directions_that_differ_by_less_than_rounding_count_as_one(dtype, below, above):
    y = torch.tensor([0, 1])
    for angle, expected in ((below, [True, True]), (above, [False, False])):
        phi = torch.tensor([[1.0, 0.0], [3 * np.cos(angle), 3 * np.sin(angle)]], dtype=torch.float64)
        K = (phi @ phi.T).to(dtype)
        assert copied_samples(K, y).tolist() == expected
        # float32 numbers as float64 are no more precise
        assert copied_samples(K.double(), y).tolist() == expected
