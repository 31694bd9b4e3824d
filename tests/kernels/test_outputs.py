"""Networks with several outputs: one of them, the sum of their kernels, or every pair."""

import pytest
import torch
from kernel_oracle import Net, force_method, full_gram, relative_error
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels import collect, embedding, layer_ntks, ntk, paired_ntk, train_test_plan
from afterkernel.kernels.output import Output

C = 3


def tokens(n):
    return torch.randint(0, 7, (n, 5))


MODELS = {
    "linear": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, C)),
        lambda n: torch.rand(n, 4),
    ),
    "convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, groups=2),
            nn.GroupNorm(2, 4),
            nn.Tanh(),
            nn.Conv2d(4, 3, 2),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(27, C),
        ),
        lambda n: torch.rand(n, 2, 6, 6),
    ),
    "sequence": (
        lambda: Net(
            lambda s, x: s.b(torch.tanh(s.n(s.a(torch.tanh(s.a(x))))).mean(1)),
            a=nn.Linear(4, 4),
            n=nn.LayerNorm(4),
            b=nn.Linear(4, C),
        ),
        lambda n: torch.rand(n, 5, 4),
    ),
    "embedding": (
        lambda: Net(
            lambda s, x: s.b(torch.tanh(s.a(x)).flatten(1)), a=nn.Embedding(7, 3, padding_idx=1), b=nn.Linear(15, C)
        ),
        tokens,
    ),
    "fallback": (
        lambda: Net(
            lambda s, x: s.b(torch.tanh(s.a(x)[0][:, -1]) * s.gain),
            a=nn.LSTM(4, 3, batch_first=True),
            b=nn.Linear(3, C),
            gain=nn.Parameter(torch.rand(3)),
        ),
        lambda n: torch.rand(n, 5, 4),
    ),
    "output-at-each-place": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)),
        lambda n: torch.rand(n, C, 4),
    ),
}


@pytest.fixture(params=["gradients", "factors"])
def method(request, monkeypatch):
    force_method(monkeypatch, request.param)
    return request.param


@pytest.fixture(params=MODELS)
def case(request):
    make, inputs = MODELS[request.param]
    model, x, y = make(), inputs(7), inputs(4)
    return model, x, y, full_gram(model, x), full_gram(model, x, y)


def test_one_output(case, method):
    model, x, y, full, full_xy = case
    for output in (C - 1, -2):
        K = ntk(model, x, output=output, dtype=torch.float64)
        assert relative_error(K, full[:, :, output, output]) < 1e-12
        K = ntk(model, x, y, output=output, dtype=torch.float64)
        assert relative_error(K, full_xy[:, :, output, output]) < 1e-12


def test_every_pair_of_outputs(case, method):
    model, x, y, full, full_xy = case
    K = ntk(model, x, output="full", dtype=torch.float64)
    assert K.shape == (7, 7, C, C)
    assert torch.equal(K, K.permute(1, 0, 3, 2))
    assert relative_error(K, full) < 1e-12
    K_xy = ntk(model, x, y, output="full", dtype=torch.float64)
    assert K_xy.shape == (7, 4, C, C)
    assert relative_error(K_xy, full_xy) < 1e-12
    assert relative_error(ntk(model, x, output="full"), full) < 1e-5


def test_the_trace_is_the_sum_of_the_diagonal_blocks(case, method):
    model, x, y, full, full_xy = case
    K, K_xy = (ntk(model, *inputs, output="trace", dtype=torch.float64) for inputs in ((x,), (x, y)))
    assert relative_error(K, full.diagonal(dim1=2, dim2=3).sum(-1)) < 1e-12
    assert relative_error(K_xy, full_xy.diagonal(dim1=2, dim2=3).sum(-1)) < 1e-12


def test_the_sum_is_the_kernel_of_the_summed_outputs(case, method):
    model, x, y, full, full_xy = case
    K, K_xy = (ntk(model, *inputs, output="sum", dtype=torch.float64) for inputs in ((x,), (x, y)))
    assert relative_error(K, full.sum((2, 3))) < 1e-12
    assert relative_error(K_xy, full_xy.sum((2, 3))) < 1e-12


def test_the_diagonal_holds_the_kernel_of_each_output(case, method):
    model, x, y, full, full_xy = case
    K, K_xy = (ntk(model, *inputs, output="diagonal", dtype=torch.float64) for inputs in ((x,), (x, y)))
    assert K.shape == (7, 7, C)
    assert torch.equal(K, K.permute(1, 0, 2))
    assert relative_error(K, full.diagonal(dim1=2, dim2=3)) < 1e-12
    assert relative_error(K_xy, full_xy.diagonal(dim1=2, dim2=3)) < 1e-12


def test_the_diagonal_in_parts_with_a_store_and_less_precision(tmp_path, monkeypatch):
    model, x = nn.Sequential(nn.Linear(4, 30), nn.Tanh(), nn.Linear(30, C)), torch.rand(40, 4)
    expected = full_gram(model, x).diagonal(dim1=2, dim2=3)
    passes = []
    block = collect.GradientEmbedding._batch
    monkeypatch.setattr(
        collect.GradientEmbedding, "_batch", lambda self, x, *a, **k: passes.append(len(x)) or block(self, x, *a, **k)
    )
    phi = embedding(model, dtype=torch.float64, output="diagonal")
    budget = 8 * train_test_plan(phi, x, x[:0], 1 << 30).sample_bytes
    passes.clear()
    result = ntk(model, x, output="diagonal", dtype=torch.float64, budget_bytes=budget, store=tmp_path, details=True)
    assert result.plan.rows_per_block < 40
    assert relative_error(result.kernel, expected) < 1e-12
    assert result.relative_error < 1e-12
    passes.clear()
    assert torch.equal(
        ntk(model, x, output="diagonal", dtype=torch.float64, budget_bytes=budget, store=tmp_path), result.kernel
    )
    assert relative_error(ntk(model, x, output="diagonal", dtype="bf16"), expected) < 2e-2
    passes.clear()
    ntk(model, x, output="diagonal")
    assert sum(passes) < 2 * 40  # once for all outputs, and the samples that are checked


def test_where_outputs_are_summed_the_diagonal_is_refused():
    model, x = nn.Linear(4, C), torch.rand(3, 4)
    with pytest.raises(UserError, match='output="diagonal" is not of single layers'):
        layer_ntks(model, x, output="diagonal")
    with pytest.raises(UserError, match='output="diagonal" has no single number for a pair'):
        paired_ntk(model, x, x, output="diagonal")


@pytest.mark.parametrize("output", ["trace", "full"])
def test_layers_and_small_budgets(case, method, output):
    model, x, y, _, _ = case
    whole = ntk(model, x, y, output=output, dtype=torch.float64)
    layers = layer_ntks(model, x, y, output=output, dtype=torch.float64)
    assert relative_error(sum(layers.values()), whole) < 1e-12
    phi = embedding(model, dtype=torch.float64, output=output)
    sample = train_test_plan(phi, x, y, 1 << 30).sample_bytes
    assert relative_error(ntk(model, x, y, output=output, dtype=torch.float64, budget_bytes=6 * sample), whole) < 1e-12


@pytest.mark.parametrize("output", ["trace", "full"])
def test_paired_products_are_summed_over_outputs(case, method, output):
    model, x, y, _, full_xy = case
    phi = embedding(model, dtype=torch.float64, output=output)
    phi.prepare(x)
    phi.inner.methods = dict.fromkeys(phi.methods, method)
    expected = full_xy.diagonal(dim1=2, dim2=3).sum(-1)[:4].diagonal()
    assert relative_error(phi.block(x[:4]).paired_products(phi.block(y)), expected, full_xy) < 1e-12


@pytest.mark.parametrize("output", [1, "trace"])
def test_pairs_alone_are_the_diagonal(case, method, output):
    model, x, y, _, full_xy = case
    phi = embedding(model, output=output, dtype=torch.float64)
    one = train_test_plan(phi, x, y, 1 << 30).sample_bytes
    expected = (full_xy.diagonal(dim1=2, dim2=3).sum(-1) if output == "trace" else full_xy[:, :, 1, 1]).diagonal()
    for budget in (4 * one, 1 << 30):
        paired = paired_ntk(model, x[:4], y, output=output, dtype=torch.float64, budget_bytes=budget)
        assert relative_error(paired, expected) < 1e-12


def test_more_outputs_than_are_verified_of_a_parameter_outside_the_sites():
    def forward(net, x):
        found = net.a(x)
        scale = torch.ones_like(found)
        scale[:] = net.gain
        return found * scale

    model = Net(forward, a=nn.Linear(4, 20), gain=nn.Parameter(torch.rand(20)))
    x = torch.rand(5, 4)
    K = ntk(model, x, output="full", dtype=torch.float64)
    assert relative_error(K, full_gram(model, x)) < 1e-12
    phi = embedding(model, output="full", dtype=torch.float64)
    assert "per-example gradients by vmap" in train_test_plan(phi, x, x, 1 << 30).describe()


def test_samples_that_do_not_pair_up_are_reported():
    with pytest.raises(UserError, match="x has 3 samples and y 2"):
        paired_ntk(nn.Linear(4, 1), torch.rand(3, 4), torch.rand(2, 4))


def test_one_output_may_be_named_or_not():
    model, x = nn.Linear(4, 1), torch.rand(5, 4)
    K = ntk(model, x, dtype=torch.float64)
    torch.testing.assert_close(ntk(model, x, output=0, dtype=torch.float64), K)
    torch.testing.assert_close(ntk(model, x, output="trace", dtype=torch.float64), K)
    torch.testing.assert_close(ntk(model, x, output="full", dtype=torch.float64), K[:, :, None, None])
    flat = Net(lambda s, x: s.a(x)[:, 0], a=model)
    torch.testing.assert_close(ntk(flat, x, dtype=torch.float64), K)


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (None, r"3 outputs per sample, of shape \(3,\): choose one by output=0"),
        (3, "output=3 does not exist: the model gives 3 outputs"),
        (-4, "output=-4 does not exist"),
        ("mean", "output='mean' is not known"),
    ],
)
def test_an_output_that_does_not_exist_is_reported(output, sentence):
    make, inputs = MODELS["linear"]
    with pytest.raises(UserError, match=sentence):
        ntk(make(), inputs(4), output=output)


def test_columns_are_selected():
    given = torch.rand(4, 2, 3)
    assert torch.equal(Output("full").select(given, 4), given.flatten(1))
    assert torch.equal(Output(-2).select(given, 4), given.flatten(1)[:, 4:5])
