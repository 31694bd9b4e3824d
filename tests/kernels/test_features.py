"""The conjugate kernel: the input of the last linear layer, or of a chosen layer, or one sentence."""

import pytest
import torch
import torch.nn.functional as F
from kernel_oracle import Net, relative_error
from torch import nn

import afterkernel as ak
from afterkernel.errors import PrecisionWarning, UserError
from afterkernel.kernels import conjugate_layer, embedding

N = 7


def vectors(n=N):
    return torch.randn(n, 4)


def sequences(n=N):
    return torch.randn(n, 5, 4)


def parts(**more):
    return {"a": nn.Linear(4, 6), "c": nn.Linear(6, 1), **more}


def hidden(net, x):
    return torch.tanh(net.a(x))


def clobbered(net, x):
    h = hidden(net, x) - 0.5
    out = net.c(h)
    F.relu_(h)
    return out + h.sum(1, keepdim=True)


def attended(net, x):
    return net.m(x, x, x, need_weights=False)[0]


def attention_heads(net, x):
    """The input of the output projection of attention, with weights of one."""
    q, k, v = (part.unflatten(-1, (2, 2)).transpose(1, 2) for part in F.linear(x, net.m.in_proj_weight).chunk(3, -1))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(1)


def skipped(net, x):
    h = net.a(x)
    return h[:, :1] + net.c(torch.tanh(h))


def by_experts(net, x):
    return torch.where(x[:, :1] > 0, net.c(hidden(net, x)), net.d(hidden(net, x)))


def repeated(net, x):
    h = hidden(net, x)
    for _ in range(3):
        h = torch.tanh(net.s(h))
    return h


RIGHT = {
    # forward pass, further parts, inputs, features, the layer's name
    "plain": (lambda s, x: s.c(hidden(s, x)), {}, vectors, hidden, "c"),
    "keyword": (lambda s, x: s.c(input=hidden(s, x)), {}, vectors, hidden, "c"),
    "sequence-first": (
        lambda s, x: s.c(hidden(s, x.transpose(0, 1))).mean(0),
        {},
        sequences,
        lambda s, x: hidden(s, x).flatten(1),
        "c",
    ),
    "windows": (
        lambda s, x: s.c(hidden(s, x.flatten(0, 1))).view(len(x), -1).sum(1),
        {},
        sequences,
        lambda s, x: hidden(s, x).flatten(1),
        "c",
    ),
    "windows-position-first": (
        lambda s, x: s.c(hidden(s, x.transpose(0, 1).flatten(0, 1))).view(-1, len(x)).sum(0),
        {},
        sequences,
        lambda s, x: hidden(s, x).flatten(1),
        "c",
    ),
    "not-contiguous": (
        lambda s, x: s.c(hidden(s, x).transpose(1, 2).contiguous().transpose(1, 2)).sum(1),
        {},
        sequences,
        lambda s, x: hidden(s, x).flatten(1),
        "c",
    ),
    "changed-afterwards": (clobbered, {}, vectors, lambda s, x: hidden(s, x) - 0.5, "c"),
    "two-heads-of-one-input": (
        lambda s, x: (s.c(hidden(s, x)), s.d(hidden(s, x))),
        {"d": nn.Linear(6, 3)},
        vectors,
        hidden,
        "d",
    ),
    "called-several-times": (
        lambda s, x: s.s(repeated(s, x)),
        {"s": nn.Linear(6, 6)},
        vectors,
        repeated,
        "s",
    ),
    "linear-off-the-path": (
        lambda s, x: s.c(hidden(s, x)) + 0 * float(s.d(hidden(s, x) * 2).detach().sum() * 0),
        {"d": nn.Linear(6, 3)},
        vectors,
        hidden,
        "c",
    ),
    "result-dropped": (
        lambda s, x: (s.c(hidden(s, x)), s.d(s.c(hidden(s, x))))[0],
        {"d": nn.Linear(1, 3)},
        vectors,
        hidden,
        "c",
    ),
    "frozen": (
        lambda s, x: s.c(hidden(s, x)),
        {"c": nn.Linear(6, 1).requires_grad_(False)},
        vectors,
        hidden,
        "c",
    ),
    "functional": (
        lambda s, x: F.linear(hidden(s, x), s.w),
        {"w": nn.Parameter(torch.randn(2, 6))},
        vectors,
        hidden,
        "w",
    ),
    "by-hand": (lambda s, x: hidden(s, x) @ s.w, {"w": nn.Parameter(torch.randn(6))}, vectors, hidden, "w"),
    "weight-first": (
        lambda s, x: (s.w @ hidden(s, x).T).T,
        {"w": nn.Parameter(torch.randn(2, 6))},
        vectors,
        hidden,
        "w",
    ),
    "einsum": (
        lambda s, x: torch.einsum("nd,kd->nk", hidden(s, x), s.w),
        {"w": nn.Parameter(torch.randn(2, 6))},
        vectors,
        hidden,
        "w",
    ),
    "tied": (
        lambda s, x: F.linear(torch.tanh(s.e(x).mean(1)), s.e.weight),
        {"e": nn.Embedding(9, 6)},
        lambda: torch.randint(0, 9, (N, 5)),
        lambda s, x: torch.tanh(s.e(x).mean(1)),
        "e.weight",
    ),
    "weight-norm": (
        lambda s, x: s.n(hidden(s, x)),
        {"n": nn.utils.parametrizations.weight_norm(nn.Linear(6, 1))},
        vectors,
        hidden,
        "n",
    ),
    "attention": (
        lambda s, x: attended(s, x).mean(1),
        {"m": nn.MultiheadAttention(4, 2, batch_first=True, bias=False)},
        sequences,
        attention_heads,
        "m.out_proj",
    ),
    "attention-sequence-first": (
        lambda s, x: attended(s, x.transpose(0, 1)).mean(0),
        {"m": nn.MultiheadAttention(4, 2, bias=False)},
        sequences,
        attention_heads,
        "m.out_proj",
    ),
    "pointwise-convolution": (
        lambda s, x: s.p(hidden(s, x)[..., None, None]).flatten(1),
        {"p": nn.Conv2d(6, 2, 1)},
        vectors,
        hidden,
        "p",
    ),
    "normalised-and-scaled": (
        lambda s, x: s.t * s.b(s.d(hidden(s, x))) + s.w,
        {
            "d": nn.Linear(6, 3),
            "b": nn.BatchNorm1d(3),
            "t": nn.Parameter(torch.tensor(2.0)),
            "w": nn.Parameter(torch.randn(3)),
        },
        vectors,
        hidden,
        "d",
    ),
    "skip-of-an-earlier-layer": (
        skipped,
        {},
        vectors,
        hidden,
        "c",
    ),
    "no-grad-inside": (torch.no_grad()(lambda s, x: s.c(hidden(s, x))), {}, vectors, hidden, "c"),
    "experts-of-one-input": (by_experts, {"d": nn.Linear(6, 1)}, vectors, hidden, "d"),
    "complex": (
        lambda s, x: s.c(torch.view_as_real(torch.fft.rfft(hidden(s, x), n=4)).flatten(1)),
        {},
        vectors,
        lambda s, x: torch.view_as_real(torch.fft.rfft(hidden(s, x), n=4)).flatten(1),
        "c",
    ),
}


def model_of(forward, more):
    torch.manual_seed(0)
    return Net(forward, **parts(**more))


@pytest.mark.parametrize("case", RIGHT)
def test_features_are_the_input_of_the_last_linear_layer(case):
    forward, more, inputs, features, name = RIGHT[case]
    model, x = model_of(forward, more), inputs()
    found = ak.conjugate_kernel(model, x, dtype=torch.float64)
    assert conjugate_layer(model, x) == name
    double = model.double().eval()
    phi = features(double, x.double() if x.is_floating_point() else x).detach()
    assert phi.shape[0] == N
    assert relative_error(found, phi @ phi.T) < 1e-12


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("case", ["windows", "windows-position-first", "sequence-first"])
def test_few_samples_have_the_features_of_many(case, count):
    forward, more, inputs, _, _ = RIGHT[case]
    model, x = model_of(forward, more), inputs()
    whole = ak.conjugate_kernel(model, x, dtype=torch.float64)
    torch.testing.assert_close(ak.conjugate_kernel(model, x[:count], dtype=torch.float64), whole[:count, :count])
    rows = ak.conjugate_kernel(model, x[:count], x, dtype=torch.float64)
    torch.testing.assert_close(rows, whole[:count])


CHOSEN = {
    "linear": ("a", lambda s, x: x),
    "activation": ("t", lambda s, x: s.a(x)),
    "in-place": ("r", lambda s, x: torch.tanh(s.a(x))),
    "nested": ("q.0", lambda s, x: torch.tanh(s.a(x)).relu()),
    "container": ("q", lambda s, x: torch.tanh(s.a(x)).relu()),
}


@pytest.mark.parametrize("case", CHOSEN)
def test_another_layer_can_be_chosen(case):
    name, features = CHOSEN[case]
    more = {"t": nn.Tanh(), "r": nn.ReLU(inplace=True), "q": nn.Sequential(nn.Linear(6, 2), nn.Linear(2, 1))}
    model = Net(lambda s, x: s.q(s.r(s.t(s.a(x)))), **parts(**more))
    x = vectors()
    found = ak.conjugate_kernel(model, x, layer=name, dtype=torch.float64)
    phi = features(model.double(), x.double()).detach()
    assert relative_error(found, phi @ phi.T) < 1e-12


def test_of_several_calls_of_a_chosen_layer_the_last_is_used_and_reported():
    model, x = model_of(lambda s, x: s.c(repeated(s, x)), {"s": nn.Linear(6, 6)}), vectors()
    phi = embedding(model, "conjugate", dtype=torch.float64, layer="s")
    assert phi.plan_layers(x)[0].reason == "the input of s (call 3 of 3)"
    with torch.no_grad():
        h = hidden(model.double(), x.double())
        for _ in range(2):
            h = torch.tanh(model.s(h))
    torch.testing.assert_close(phi(x), h)


def test_the_layer_is_part_of_the_plan_and_of_the_identity():
    phi = embedding(model_of(*RIGHT["plain"][:2]), "conjugate")
    assert "the input of c, the last linear layer" in phi.plan_layers(vectors())[0].reason
    assert phi.identity == {"kernel": "conjugate", "layer": "c"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_autocast_of_the_caller_does_not_reach_the_features(dtype):
    model, x = model_of(*RIGHT["plain"][:2]), vectors()
    expected = ak.conjugate_kernel(model, x, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ak.conjugate_kernel(model, x, dtype=dtype)
    assert torch.equal(found, expected)


def test_features_that_the_model_itself_rounds_are_reported():
    def forward(net, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return net.c(hidden(net, x))

    with pytest.warns(PrecisionWarning, match="in torch.bfloat16 itself"):
        ak.conjugate_kernel(model_of(forward, {}), vectors())


def test_the_users_model_is_not_changed():
    model, x = model_of(*RIGHT["plain"][:2]), vectors()
    fired = []
    model.c.register_forward_pre_hook(lambda *_: fired.append(1))
    before = {name: dict(vars(module)) for name, module in model.named_modules()}
    ak.conjugate_kernel(model, x)
    ak.conjugate_kernel(model, x, layer="a")
    assert not fired
    assert {name: dict(vars(module)) for name, module in model.named_modules()}.keys() == before.keys()
    assert all(not hasattr(value.untyped_storage(), "_afterkernel_flow") for value in [x, *model.parameters()])
    assert all(value.requires_grad for value in model.parameters())


def test_options_of_the_other_kernel_are_refused():
    model = model_of(*RIGHT["plain"][:2])
    with pytest.raises(UserError, match="layer='c' belongs to kernel='conjugate'"):
        embedding(model, "ntk", layer="c")
    with pytest.raises(UserError, match="output=0 belongs to kernel='ntk'"):
        embedding(model, "conjugate", output=0)
