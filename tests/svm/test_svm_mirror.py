import pytest
import torch
from svm_problems import normal, random_labels

from afterkernel.svm import certify, mirror


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mirrored", [False, True])
def test_kernel_is_that_of_the_samples_and_their_mirror_images(monkeypatch, dtype, mirrored):
    monkeypatch.setattr(mirror, "ROWS_AT_ONCE", 4)
    X = normal(10, 3)
    K = (X @ X.T).to(dtype)
    before = K.clone()
    matrix, scale = mirror.kernel_to_fit(K, mirrored, torch.float64, "cpu")
    samples = torch.cat([X, -X]) if mirrored else X
    assert scale == float(K.diagonal().max())
    assert torch.allclose(matrix * scale, samples @ samples.T, atol=1e-5 if dtype == torch.float32 else 1e-12)
    assert matrix.dtype == torch.float64
    assert matrix.is_contiguous()
    assert torch.equal(K, before)


@pytest.mark.parametrize("mirrored", [False, True])
def test_folded_dual_gives_the_same_w(mirrored):
    X, y = normal(10, 3), 2.0 * random_labels(10).double() - 1
    labels = mirror.labels_to_fit(y, mirrored)
    samples = torch.cat([X, -X]) if mirrored else X
    a = normal(len(labels), seed=5).abs()
    dual = mirror.fold(a * labels, labels, 10)
    assert torch.allclose(X.T @ (dual * y), samples.T @ (a * labels))
    assert bool((dual >= 0).all())
    assert certify(X @ X.T, y, dual).upper >= certify(X @ X.T, y, dual).margin


def test_a_negative_dual_counts_as_zero():
    labels = torch.tensor([1.0, -1.0]).double()
    assert mirror.fold(torch.tensor([-3.0, -2.0]).double(), labels, 2).tolist() == [0.0, 2.0]
