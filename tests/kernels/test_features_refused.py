"""Models without features of single samples, and layers that do not exist: one sentence each."""

import pytest
import torch
import torch.nn.functional as F
from kernel_oracle import Net
from torch import nn

import afterkernel as ak
from afterkernel.errors import UserError

N = 7


def vectors(n=N):
    return torch.randn(n, 4)


def sequences(n=N):
    return torch.randn(n, 5, 4)


def parts(**more):
    return {"a": nn.Linear(4, 6), "c": nn.Linear(6, 1), **more}


def hidden(net, x):
    return torch.tanh(net.a(x))


def by_experts(net, x):
    return torch.where(x[:, :1] > 0, net.c(hidden(net, x)), net.d(hidden(net, x)))


def model_of(forward, more):
    torch.manual_seed(0)
    return Net(forward, **parts(**more))


def random_or_not(net, x):
    return net.c(F.dropout(hidden(net, x), training=True))


def branch(net, x):
    return net.c(hidden(net, x)) if x.max() < 50 else net.d(hidden(net, x))


def dispatched(net, x):
    h, out = hidden(net, x), torch.zeros(len(x), 1, dtype=x.dtype)
    for layer, rows in ((net.c, x[:, 0] > 0), (net.d, x[:, 0] <= 0)):
        out[rows] = layer(h[rows])
    return out


REFUSED = {
    "batch-statistics": (
        lambda s, x: s.c(s.n(hidden(s, x))),
        {"n": nn.BatchNorm1d(6, track_running_stats=False)},
        "depend",
    ),
    "batch-statistics-of-one": (
        lambda s, x: s.c(s.n(hidden(s, x)[..., None])[..., 0]),
        {"n": nn.BatchNorm1d(6, track_running_stats=False)},
        "depend",
    ),
    "batch-mean": (lambda s, x: s.c(hidden(s, x - x.mean(0))), {}, "depend"),
    "dropout-always": (random_or_not, {}, "random"),
    "noise": (lambda s, x: s.c(hidden(s, x) + torch.randn(len(x), 6).to(x)), {}, "random"),
    "heads-of-different-inputs": (
        lambda s, x: s.c(hidden(s, x)) + s.d(x),
        {"d": nn.Linear(4, 1)},
        "2 linear layers come last, with different inputs .*layer='c' or layer='d'",
    ),
    "siamese": (lambda s, x: s.c(hidden(s, x)) - s.c(hidden(s, -x)), {}, "come last, with different inputs"),
    "product-by-hand": (
        lambda s, x: (hidden(s, x) * s.w).sum(1),
        {"w": nn.Parameter(torch.randn(6))},
        r"not linear \(w, in mul\)",
    ),
    "convolution-last": (
        lambda s, x: s.k(hidden(s, x)[:, None]).flatten(1),
        {"k": nn.Conv1d(1, 1, 6)},
        r"not linear \(k, in convolution\)",
    ),
    "experts-by-rows": (dispatched, {"d": nn.Linear(6, 1)}, "layer="),
    "not-followed": (
        lambda s, x: torch.as_tensor(s.c(hidden(s, x)).detach().numpy() * 1.0),
        {},
        "can't be followed",
    ),
    "samples-mixed": (lambda s, x: s.c(hidden(s, x).sum(0)).expand(len(x), 1), {}, "no features of single samples"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_models_without_features_are_refused_in_one_sentence(case):
    forward, more, sentence = REFUSED[case]
    with pytest.raises(UserError, match=sentence):
        ak.conjugate_kernel(model_of(forward, more), vectors())


def test_a_branch_on_the_data_is_refused():
    x = vectors(600)
    x[300] = 100
    with pytest.raises(
        UserError, match="the input of c, the last linear layer for the first samples, and the input of d"
    ):
        ak.conjugate_kernel(model_of(branch, {"d": nn.Linear(6, 1)}), x)


NAMES = {
    "misspelt": ("lst", r"layer='lst' is not a module of the model: did you mean 'last'\?"),
    "unlike-any": ("zzzzzz", r"not a module of the model: model\.named_modules\(\) lists"),
    "empty": ("", "not a module"),
    "unused": ("unused", "layer='unused' is not called in the forward pass"),
    "whole-numbers": ("e", r"is of torch\.int64"),
}


@pytest.mark.parametrize("case", NAMES)
def test_a_wrong_layer_is_refused(case):
    layer, sentence = NAMES[case]
    more = {"e": nn.Embedding(9, 4), "last": nn.Linear(6, 1), "unused": nn.Linear(2, 2)}
    model = Net(lambda s, x: s.last(hidden(s, s.e(x))), **parts(**more))
    with pytest.raises(UserError, match=sentence):
        ak.conjugate_kernel(model, torch.randint(0, 9, (N,)), layer=layer)
