"""The NTK as a linear operator, against the matrix."""

import copy

import numpy as np
import pytest
import torch
from kernels.kernel_oracle import Net, relative_error, scalar, set_batch_sizes
from scipy.sparse.linalg import cg, eigsh, svds
from torch import nn
from torch.utils.data import TensorDataset

import afterkernel as ak
from afterkernel.errors import UserError

C = 3


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, C)).double()


def normalised():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 1))
    model(torch.randn(30, 1, 5, 5))
    return model


def tied():
    model = Net(
        lambda s, ids: s.out(torch.tanh(s.inner(s.tokens(ids)))).mean((1, 2)),
        tokens=nn.Embedding(9, 4),
        inner=nn.Linear(4, 4),
        out=nn.Linear(4, 9, bias=False),
    )
    model.out.weight = model.tokens.weight
    return model


class Sine(torch.autograd.Function):
    """A function without forward-mode derivatives."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sin(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.cos(x)


class SineOnce(Sine):
    """A function without second derivatives either."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.cos(x)


def with_function(function):
    return lambda: Net(lambda s, x: s.b(function.apply(s.a(x))), a=nn.Linear(4, 5), b=nn.Linear(5, 1))


MODELS = {
    "batch norm": (normalised, lambda n: torch.randn(n, 1, 5, 5)),
    "attention": (
        lambda: Net(lambda s, x: scalar(s.a(x, x, x)[0]), a=nn.MultiheadAttention(4, 2, batch_first=True)),
        lambda n: torch.randn(n, 3, 4),
    ),
    "tied weights": (tied, lambda n: torch.randint(0, 9, (n, 4))),
    "recurrent": (
        lambda: Net(lambda s, x: scalar(s.a(x)[0]), a=nn.LSTM(4, 3, batch_first=True)),
        lambda n: torch.randn(n, 3, 4),
    ),
    "no forward mode": (with_function(Sine), lambda n: torch.randn(n, 4)),
}


def check(operator, K):
    """Products with vectors, several at once, numpy arrays, and of the transpose."""
    assert operator.shape == K.shape
    v, u = torch.randn(K.shape[1], 2, dtype=torch.float64), torch.randn(K.shape[0], dtype=torch.float64)
    assert relative_error(operator @ v, K @ v) < 1e-12
    assert relative_error(operator(v[:, 0]), K @ v[:, 0]) < 1e-12
    assert relative_error(operator.T @ u, K.T @ u) < 1e-12
    assert relative_error(operator.adjoint.T @ v, K @ v) < 1e-12
    product = operator @ v.numpy()
    assert isinstance(product, np.ndarray)
    assert relative_error(torch.from_numpy(product), K @ v) < 1e-12


@pytest.mark.parametrize("name", MODELS)
def test_products_are_those_of_the_matrix(name):
    make, inputs = MODELS[name]
    torch.manual_seed(0)
    model, x, y = make(), inputs(9), inputs(4)
    check(ak.ntk_operator(model, x, y, dtype=torch.float64), ak.ntk(model, x, y, dtype=torch.float64))


@pytest.mark.parametrize("output", [1, "trace", "sum", "full"])
def test_several_outputs(output):
    x, y = torch.randn(6, 4), torch.randn(5, 4)
    K = ak.ntk(mlp(), x, y, output=output, dtype=torch.float64)
    K = K.permute(0, 2, 1, 3).reshape(6 * C, 5 * C) if output == "full" else K
    check(ak.ntk_operator(mlp(), x, y, output=output, dtype=torch.float64), K)


def test_batches_small_budgets_trees_data_sets_and_parts_of_the_parameters(monkeypatch):
    set_batch_sizes(monkeypatch, samples=2, few_samples=2)
    model, x = mlp(), torch.randn(9, 4)
    options = {"output": 0, "parameters": "2", "dtype": torch.float64}
    K = ak.ntk(model, x, **options)
    bytes_needed = 3 * 7 * C * 8
    operator = ak.ntk_operator(model, TensorDataset(x), budget_bytes=2 * bytes_needed + 4000, **options)
    check(operator, K)
    check(ak.ntk_operator(model, {"z": x}, forward=lambda m, batch: m(batch["z"]), **options), K)
    assert (
        relative_error(ak.ntk_operator(model, x, output=0) @ torch.ones(9), ak.ntk(model, x, output=0).double().sum(1))
        < 1e-5
    )


def test_scipy_finds_eigenvalues_singular_values_and_solutions():
    x, y = torch.randn(12, 4), torch.randn(7, 4)
    K = ak.ntk(mlp(), x, output=0, dtype=torch.float64)
    operator = ak.ntk_operator(mlp(), x, output=0, dtype=torch.float64).to_scipy()
    assert operator.dtype == np.float64
    np.testing.assert_allclose(eigsh(operator, 3, return_eigenvectors=False), torch.linalg.eigvalsh(K)[-3:], rtol=1e-9)
    solution, failed = cg(operator, np.ones(12), rtol=1e-8, maxiter=500)
    assert not failed
    np.testing.assert_allclose(K.numpy() @ solution, np.ones(12), atol=1e-6)
    cross = ak.ntk(mlp(), x, y, output=0, dtype=torch.float64)
    values = svds(
        ak.ntk_operator(mlp(), x, y, output=0, dtype=torch.float64).to_scipy(), 2, return_singular_vectors=False
    )
    np.testing.assert_allclose(np.sort(values), torch.linalg.svdvals(cross)[:2].flip(0), rtol=1e-9)


def test_a_wrong_derivative_is_noticed(monkeypatch):
    from afterkernel.kernels import operator

    right = operator.Jacobian._along

    def wrong(self, x, vector):
        return right(self, x, {**vector, "0.bias": torch.zeros_like(vector["0.bias"])})

    monkeypatch.setattr(operator.Jacobian, "_along", wrong)
    x = torch.randn(5, 4)
    found = ak.ntk_operator(mlp(), x, output=0, dtype=torch.float64)  # by second derivatives
    check(found, ak.ntk(mlp(), x, output=0, dtype=torch.float64))


def test_what_has_no_products():
    x = torch.randn(8, 4)
    with pytest.raises(UserError, match=r"the model has no products with its Jacobian .*: use ntk"):
        ak.ntk_operator(with_function(SineOnce)(), x)
    with pytest.raises(UserError, match='output="diagonal" is several operators'):
        ak.ntk_operator(mlp(), x, output="diagonal")
    with pytest.raises(UserError, match="dtype=bf16 is not of single products"):
        ak.ntk_operator(mlp(), x, output=0, dtype="bf16")
    with pytest.raises(UserError, match="is too small"):
        ak.ntk_operator(mlp(), x, output=0, budget_bytes=500)
    with pytest.raises(UserError, match="depends on the other samples"):
        ak.ntk_operator(Net(lambda s, x: s.a(x - x[3:].mean()), a=nn.Linear(4, 1)), x)
    model = mlp()
    operator = ak.ntk_operator(model, x, output=0)
    for v, message in (
        (torch.ones(7), r"v has shape \(7,\): give \(8,\) or \(8, c\)"),
        (torch.full((8,), torch.nan), "not real and finite"),
        ([1.0] * 8, "v is a list: give a tensor"),
    ):
        with pytest.raises(UserError, match=message):
            operator @ v
    before = copy.deepcopy(model)
    with torch.no_grad():
        model[0].weight += 1
    with pytest.raises(UserError, match="have changed since ntk_operator was called"):
        operator @ torch.ones(8)
    ak.ntk_operator(before, x, output=0) @ torch.ones(8)
