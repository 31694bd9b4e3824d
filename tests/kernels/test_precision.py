"""Less precision than float32 is requested by name, and its error is measured; float32 is float32."""

import pytest
import torch
from kernel_oracle import gram, relative_error

import afterkernel as ak
from afterkernel.errors import UserError
from afterkernel.kernels import cross_grams, embedding, ntk, train_test_grams
from afterkernel.kernels.precision import PRECISIONS, exact_products, precision

SHAPE = (1, 8, 8)


def grams(model, x, dtype, y=None):
    return train_test_grams(embedding(model, dtype=dtype), x, y, dtype=dtype)


@pytest.fixture(params=["mlp", "vgg"])
def model(request):
    return ak.models.mlp(SHAPE, 1500) if request.param == "mlp" else ak.models.vgg(SHAPE, 1500)


@pytest.mark.parametrize(
    ("dtype", "least", "most"),
    [
        ("float64", 0, 1e-12),
        ("float32", 1e-9, 1e-5),
        ("tf32", 1e-9, 3e-3),
        ("tf32x3", 1e-9, 2e-6),
        ("bf16", 1e-5, 1e-2),
    ],
)
def test_the_recorded_error_is_the_true_one(model, dtype, least, most):
    x, y = torch.rand(12, *SHAPE), torch.rand(5, *SHAPE)
    found, expected = grams(model, x, dtype, y), gram(model, x)
    error = relative_error(found.train, expected)
    assert least <= error < most
    assert least <= found.relative_error < most
    assert found.relative_error == pytest.approx(error, rel=0.5, abs=1e-6)
    assert relative_error(found.test, gram(model, y, x)) < most
    assert found.train.dtype == PRECISIONS[dtype].dtype
    assert torch.equal(found.train, found.train.T)


def test_float32_products_stay_float32_in_a_program_that_allows_less(model):
    x = torch.rand(10, *SHAPE)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert relative_error(ntk(model, x), gram(model, x)) < 1e-5
        assert torch.get_float32_matmul_precision() == "medium"
        with exact_products(tf32=True):
            assert torch.get_float32_matmul_precision() == "high"
            with exact_products():
                assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)


def test_bf16_holds_half_the_bytes(model):
    x = torch.rand(6, *SHAPE)
    assert grams(model, x, "bf16").plan.sample_bytes * 2 == grams(model, x, "float32").plan.sample_bytes


def test_x_against_y_in_less(model):
    x, y = torch.rand(9, *SHAPE), torch.rand(5, *SHAPE)
    found = cross_grams(embedding(model), x, y, dtype="bf16")
    assert 1e-5 < relative_error(found.test, gram(model, x, y)) < 1e-2
    assert found.relative_error is None


@pytest.mark.parametrize("kernel", ["ntk", "conjugate"])
@pytest.mark.parametrize("dtype", ["tf32", "tf32x3", "bf16"])
def test_both_kernels_can_be_taken_in_less(model, kernel, dtype):
    x = torch.rand(9, *SHAPE)
    exact = train_test_grams(embedding(model, kernel, dtype="float64"), x).train
    found = train_test_grams(embedding(model, kernel, dtype=dtype), x, dtype=dtype)
    assert relative_error(found.train, exact) < 1e-2
    assert 0 <= found.relative_error < 1e-2


def test_an_embedding_in_another_type_is_reported(model):
    with pytest.raises(UserError, match=r"dtype=bf16 needs an embedding in torch\.float32"):
        train_test_grams(embedding(model, dtype=torch.float64), torch.rand(3, *SHAPE), dtype="bf16")


@pytest.mark.parametrize("dtype", [torch.float16, "float16", "int8", torch.bfloat16, ""])
def test_an_unknown_precision_is_reported(model, dtype):
    with pytest.raises(
        UserError, match=r"is not known: choose torch\.float32, torch\.float64, float32, float64, tf32, tf32x3, bf16"
    ):
        ntk(model, torch.rand(3, *SHAPE), dtype=dtype)


@pytest.mark.parametrize("value", ["float64", torch.float64, PRECISIONS["float64"]])
def test_a_precision_is_named_in_several_ways(value):
    assert precision(value) is PRECISIONS["float64"]
