"""What `exact` reads and allocates: K may be a read-only memory map, and there is never a second n x n matrix."""

import numpy as np
import pytest
import torch
from svm_problems import linear_labels, normal, random_labels
from torch.utils._python_dispatch import TorchDispatchMode

from afterkernel.svm import HardMarginSVM
from afterkernel.svm.inputs import kernel_of
from afterkernel.svm.signed_gram import ENTRIES_AT_ONCE


class Watch(TorchDispatchMode):
    """The number of entries of the largest tensor that an operation returns, views of K aside."""

    def __init__(self, K):
        super().__init__()
        self.inside = range(K.data_ptr(), K.data_ptr() + K.nbytes)
        self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for found in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(found, torch.Tensor) and found.data_ptr() not in self.inside:
                self.largest = max(self.largest, found.numel())
        return result


def kernel(n=1800, rank=2500, dtype=torch.float32):
    X = normal(n, rank)
    return (X @ X.T).to(dtype), linear_labels(X[:, :30])


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("warm", [False, True])
def test_no_second_kernel_matrix(dtype, intercept, warm):
    F = normal(1800, 20)
    F[:, 0] += F[:, 0].sign()
    y = (F[:, 0] > 0).long()
    F = torch.cat([F, 0.3 * normal(1800, 2000, seed=3) / 2000**0.5], 1)
    K = (F @ F.T).to(dtype)
    start = HardMarginSVM(intercept=intercept).fit(K, y).support_ if warm else None
    with Watch(K) as watch:
        machine = HardMarginSVM(intercept=intercept).fit(K, y, start=start)
    assert machine.separable_
    k = len(machine.support_)
    assert k < 500
    # the block of the support, with as many samples again that enter and leave on the way
    assert watch.largest <= max((2 * k) ** 2, ENTRIES_AT_ONCE["cpu"])
    assert watch.largest < K.numel() / 8


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_read_only_memory_map(tmp_path, dtype):
    F = normal(300, 500)
    K, y = (F @ F.T).numpy().astype(dtype), random_labels(300)
    np.save(tmp_path / "K.npy", K)
    mapped = np.load(tmp_path / "K.npy", mmap_mode="r")
    assert not mapped.flags.writeable
    assert kernel_of(HardMarginSVM(), mapped, "K", reset=True).data_ptr() == mapped.ctypes.data
    one, other = HardMarginSVM().fit(K, y), HardMarginSVM().fit(mapped, y)
    assert np.array_equal(one.dual_coef_, other.dual_coef_)
    assert one.gap_ <= 1e-10
    assert np.array_equal(one.predict(K), other.predict(mapped))
    assert np.array_equal(np.load(tmp_path / "K.npy"), K)


def test_writable_memory_map_given_as_a_tensor_is_not_written(tmp_path):
    F = normal(200, 10)
    K, y = (F @ F.T).numpy(), random_labels(200)
    np.save(tmp_path / "K.npy", K)
    mapped = np.load(tmp_path / "K.npy", mmap_mode="r+")
    assert HardMarginSVM().fit(torch.from_numpy(mapped), y).separable_ is False
    assert np.array_equal(mapped, K)


def test_float32_support_block_is_solved_in_float64():
    K, y = kernel(500)
    machine = HardMarginSVM().fit(K, y)
    double = HardMarginSVM().fit(K.double(), y)
    assert machine.gap_ <= 1e-10
    # the kernel as rounded to float32, but no rounding after that
    assert torch.allclose(machine.dual_coef_, double.dual_coef_, rtol=1e-9, atol=1e-12)
