"""Networks that use their parameters in unusual ways: the kernel is right or refused in one sentence."""

import pytest
import torch
import torch.nn.functional as F
from kernel_oracle import Net, gram, relative_error, scalar
from torch import nn
from torch.nn.utils import parametrizations

from afterkernel.kernels import embedding, ntk
from afterkernel.kernels.layers import Linear
from afterkernel.kernels.registry import LAYERS

S = 5


def vectors(n):
    return torch.rand(n, 4)


def sequences(n):
    return torch.rand(n, S, 4)


def images(n):
    return torch.rand(n, 2, 6, 6)


def tokens(n):
    return torch.randint(0, 7, (n, S))


def two(**more):
    return {"a": nn.Linear(4, 4), "b": nn.Linear(4, 1), **more}


def dead_call(net, x):
    net.a(x)
    return net.b(torch.tanh(x @ net.a.weight.T + net.a.bias))


def branch_of_samples(net, x):
    """The same layers for every sample, but not the same way: each by itself."""
    return net.b(torch.where(x[:, :1] > 0.5, torch.tanh(net.a(x)), net.a(x) ** 2))


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return 2 * x @ weight.T

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        return 2 * grad @ weight, 2 * grad.T @ x


# Name: (forward, parts, inputs, whether the sites account for all parameters).
RIGHT = {
    "called-twice": (lambda s, x: s.b(torch.tanh(s.a(torch.tanh(s.a(x))))), two, vectors, True),
    "called-twice-convolution": (
        lambda s, x: scalar(s.a(torch.tanh(s.a(x)))),
        lambda: {"a": nn.Conv2d(2, 2, 3)},
        images,
        True,
    ),
    "called-twice-embedding": (
        lambda s, x: scalar(s.a(x) + 2 * s.a(x.flip(1)).sin()),
        lambda: {"a": nn.Embedding(7, 3)},
        tokens,
        True,
    ),
    "called-without-its-bias-too": (
        lambda s, x: s.b(torch.tanh(F.linear(torch.tanh(s.a(x)), s.a.weight))),
        two,
        vectors,
        True,
    ),
    "tied-embedding": (
        lambda s, x: scalar(F.linear(torch.tanh(s.a(x)), s.a.weight)),
        lambda: {"a": nn.Embedding(7, 3)},
        tokens,
        True,
    ),
    "by-hand": (lambda s, x: s.b(torch.tanh(s.a(x)) @ s.a.weight), two, vectors, True),
    "by-hand-and-a-call-thrown-away": (dead_call, two, vectors, True),
    "in-the-loss-only": (lambda s, x: s.b(s.a(x)) + s.a.weight.square().sum(), two, vectors, True),
    "plain-parameter": (
        lambda s, x: s.b(torch.tanh(s.a(x)) * s.gain),
        lambda: two(gain=nn.Parameter(torch.rand(4))),
        vectors,
        True,
    ),
    "inplace-relu": (lambda s, x: s.b(F.relu(s.a(x), inplace=True)), two, vectors, True),
    "inplace-relu-convolution": (
        lambda s, x: scalar(F.relu(s.a(x), inplace=True)),
        lambda: {"a": nn.Conv2d(2, 3, 3)},
        images,
        True,
    ),
    "weight-norm": (
        lambda s, x: s.b(torch.tanh(s.a(x))),
        lambda: two(a=parametrizations.weight_norm(nn.Linear(4, 4))),
        vectors,
        True,
    ),
    "view": (
        lambda s, x: s.b(torch.tanh(s.a(x)).view(len(x), -1)),
        lambda: {"a": nn.Conv2d(2, 3, 3), "b": nn.Linear(48, 1)},
        images,
        True,
    ),
    "view-of-channels-last": (
        lambda s, x: s.b(torch.tanh(s.a(x)).permute(0, 2, 3, 1).reshape(len(x), -1)),
        lambda: {"a": nn.Conv2d(2, 3, 3), "b": nn.Linear(48, 1)},
        images,
        True,
    ),
    "positions-first": (
        lambda s, x: scalar(torch.tanh(s.a(x.transpose(0, 1))).transpose(0, 1)),
        lambda: {"a": nn.Linear(4, 3)},
        sequences,
        True,
    ),
    "positions-flattened": (
        lambda s, x: scalar(s.a(x.reshape(-1, 4)).view(len(x), S, 3)),
        lambda: {"a": nn.Linear(4, 3)},
        sequences,
        True,
    ),
    "one-table-for-all": (
        lambda s, x: scalar(torch.tanh(s.a(x) + s.b(torch.arange(S)))),
        lambda: {"a": nn.Embedding(7, 3), "b": nn.Embedding(S, 3)},
        tokens,
        True,
    ),
    "one-table-for-all-as-a-batch-of-one": (
        lambda s, x: scalar(torch.tanh(s.a(x) + s.b(torch.arange(S)[None]))),
        lambda: {"a": nn.Embedding(7, 3), "b": nn.Embedding(S, 3)},
        tokens,
        True,
    ),
    "unused": (lambda s, x: s.b(torch.tanh(x)), two, vectors, True),
    "branch-of-samples": (branch_of_samples, two, vectors, True),
    "own-function": (lambda s, x: s.b(Doubled.apply(x, s.a.weight).sin()), two, vectors, False),
    "branch-without-vmap": (
        lambda s, x: s.b(torch.tanh(x @ s.a.weight) if x.shape[0] * x.abs().max().item() > 0 else x),
        two,
        vectors,
        True,
    ),
    "detached": (lambda s, x: s.b(torch.tanh(s.a(x)) + s.a(x).detach()), two, vectors, True),
    "a-gradient-that-is-zero": (
        lambda s, x: scalar(s.n(s.a(x) + s.shift)),
        lambda: two(n=nn.LayerNorm(4), shift=nn.Parameter(torch.tensor(0.3))),
        vectors,
        True,
    ),
    "output-rounded": (lambda s, x: s.b(torch.tanh(s.a(x))).bfloat16(), two, vectors, True),
    "bias-of-another": (
        lambda s, x: s.b(torch.tanh(F.linear(x, s.a.weight, s.c.bias))),
        lambda: two(c=nn.Linear(4, 4)),
        vectors,
        None,
    ),
}


def network(case):
    forward, parts, inputs, captured = RIGHT[case]
    return Net(forward, **parts()), inputs, captured


@pytest.mark.parametrize(("n", "m", "dtype", "bar"), [(S, 1, torch.float64, 1e-12), (1, 7, torch.float32, 1e-5)])
@pytest.mark.parametrize("case", RIGHT)
def test_the_kernel_is_right(case, n, m, dtype, bar):
    model, inputs, _ = network(case)
    x, y = inputs(n), inputs(m)
    K = ntk(model, x, dtype=dtype)
    assert relative_error(K, gram(model, x)) < bar
    assert relative_error(ntk(model, x, y, dtype=dtype), gram(model, x, y)) < bar


@pytest.mark.parametrize("case", [case for case, (*_, captured) in RIGHT.items() if captured is not None])
def test_what_is_captured_is_known(case):
    model, inputs, captured = network(case)
    assert (not embedding(model).prepare(inputs(6)).left_over) == captured


def test_parameters_that_are_not_used_have_no_part():
    layout = embedding(network("unused")[0]).prepare(vectors(4))
    assert set(layout.unused) == {"a.weight", "a.bias"}


def test_inputs_that_require_gradients_change_nothing():
    model, inputs, _ = network("plain-parameter")
    x = inputs(5)
    K = ntk(model, x.clone().requires_grad_())
    assert not K.requires_grad
    assert torch.equal(K, ntk(model, x))


@pytest.mark.parametrize("case", RIGHT)
def test_no_graph_is_kept(case):
    model, inputs, _ = network(case)
    block = embedding(model).block(inputs(8))
    assert not any(t.requires_grad for terms in block.layers.values() for term in terms for t in vars(term).values())


def test_inference_mode_changes_nothing():
    model, inputs, _ = network("called-twice")
    x = inputs(5)
    with torch.inference_mode():
        K = ntk(model, x, dtype=torch.float64)
    assert relative_error(K, gram(model, x)) < 1e-12


def test_a_layer_function_registered_wrongly_gets_per_example_gradients(monkeypatch):
    class Twice(Linear):
        def term(self, method, grad, *, weight, bias, out=None):
            return super().term(method, 2 * grad, weight=weight, bias=bias, out=out)

    monkeypatch.setitem(LAYERS, F.linear, Twice)
    model, x = Net(RIGHT["called-twice"][0], **two()), vectors(6)
    assert "differs from autograd" in embedding(model).prepare(x).left_over["a.weight"]
    assert relative_error(ntk(model, x, dtype=torch.float64), gram(model, x)) < 1e-12


def test_a_layer_function_that_is_right_for_whole_batches_alone_is_found_out(monkeypatch):
    class Shuffled(Linear):
        def positions_of_input(self, part, *, bias):
            return super().positions_of_input(part, bias=bias).flip(0)

    monkeypatch.setitem(LAYERS, F.linear, Shuffled)
    model, x = Net(RIGHT["called-twice"][0], **two()), vectors(6)
    assert relative_error(ntk(model, x, dtype=torch.float64), gram(model, x)) < 1e-12
