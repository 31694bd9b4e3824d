"""The ways in which samples meet parameters: each is found, and gives the kernel of per-example autograd in float64."""

import pytest
import torch
import torch.nn.functional as F
from kernel_oracle import Net, gram, relative_error, scalar
from torch import nn
from torch.nn.utils import parametrizations

from afterkernel.errors import UserError
from afterkernel.kernels import embedding, layer_ntks, ntk
from afterkernel.kernels.groups import CallGroup, PulledGroup, RowsGroup, TableGroup
from afterkernel.kernels.layout import try_again

S = 5


def vectors(n):
    return torch.rand(n, 4)


def sequences(n):
    return torch.rand(n, S, 4)


def images(n):
    return torch.rand(n, 2, 6, 6)


def tokens(n):
    return torch.randint(0, 7, (n, S))


def parameter(*shape):
    return nn.Parameter(torch.randn(*shape))


def frames(net, x):
    """Every channel as an image of its own, so that each sample has several rows."""
    rows = net.norm(net.a(x.view(-1, 1, 6, 6)).tanh())
    return scalar(rows.view(len(x), -1).sin())


def windows_last_first(net, x):
    """Rows of one sample spread over the batch."""
    return scalar(net.a(x.transpose(0, 1).reshape(-1, 4)).tanh().view(S, len(x), 3).transpose(0, 1))


def with_class_token(net, x):
    whole = torch.cat([net.token.expand(len(x), -1, -1), x], dim=1) + net.places[:, : S + 1]
    return scalar(net.a(whole * net.gain))


def repeated(net, x):
    return scalar((net.w.repeat(len(x), 1, 1) * x).tanh())


def added_in_place(net, x):
    y = x.clone()
    y += net.w
    return scalar(y.sin())


def input_changed_afterwards(net, x):
    y = x.sin()
    z = net.a(y) + (y.detach() + net.w)
    y.mul_(2)
    return scalar(z.tanh() + y)


def bias_alone():
    layer = nn.Linear(4, 4)
    layer.weight.requires_grad_(False)
    return {"a": layer, "w": parameter(1)}


def in_two_orders(net, x):
    return scalar(F.linear(torch.tanh(F.linear(x, net.w)), net.w.t()))


def rows_used_twice(net, x):
    return scalar(x * net.w[[0, 0, 1, 2]])


def rows_used_once(net, x):
    return scalar((x * net.w[[3, 0, 1, 2]]).sin())


def scaled(net, x):
    return scalar(F.linear(x, net.w * 0.5, net.b * 0.5).tanh())


def chunks(net, x):
    query, key, value = (F.linear(x, part) for part in net.w.chunk(3))
    return scalar(F.scaled_dot_product_attention(query, key, value))


def overlapping(net, x):
    return scalar(F.linear(x, net.w[:4]).tanh() + F.linear(x, net.w[2:]))


def two_kinds_of_layer(net, x):
    return scalar(F.layer_norm(F.linear(x, net.w, net.b).tanh(), (4,), weight=net.b))


def pooled(net, x):
    return scalar(F.max_pool2d(net.a(x).tanh(), 2))


# Name: (forward, parts, inputs, kinds of groups).
CASES = {
    "rows-per-sample": (frames, lambda: {"a": nn.Conv2d(1, 2, 3), "norm": nn.GroupNorm(1, 2)}, images, {CallGroup}),
    "rows-per-sample-convolution-groups": (
        lambda s, x: scalar(s.a(x.view(-1, 2, 3, 6)).tanh().view(len(x), -1)),
        lambda: {"a": nn.Conv2d(2, 4, 2, groups=2)},
        images,
        {CallGroup},
    ),
    "rows-per-sample-transposed": (
        lambda s, x: scalar(s.a(x.view(-1, 1, 6, 6)).tanh().view(len(x), -1)),
        lambda: {"a": nn.ConvTranspose2d(1, 2, 2, stride=2)},
        images,
        {CallGroup},
    ),
    "pooled": (pooled, lambda: {"a": nn.Conv2d(2, 3, 3)}, images, {CallGroup}),
    "rows-spread": (windows_last_first, lambda: {"a": nn.Linear(4, 3)}, sequences, {CallGroup}),
    "samples-second": (
        lambda s, x: scalar(s.a(x.transpose(0, 1)).tanh().transpose(0, 1)),
        lambda: {"a": nn.RMSNorm(4)},
        sequences,
        {CallGroup},
    ),
    "product": (
        lambda s, x: scalar(torch.addmm(s.b, x.view(-1, 4), s.w).tanh().view(len(x), S, 3) @ s.v),
        lambda: {"w": parameter(4, 3), "b": parameter(3), "v": parameter(3, 2)},
        sequences,
        {CallGroup},
    ),
    "product-on-the-left": (
        lambda s, x: scalar((s.w @ x).tanh()),
        lambda: {"w": parameter(3, S)},
        sequences,
        {RowsGroup},
    ),
    "class-token": (
        with_class_token,
        lambda: {
            "a": nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
            "token": parameter(1, 1, 4),
            "places": parameter(1, S + 2, 4),
            "gain": parameter(4),
        },
        sequences,
        {CallGroup, RowsGroup},
    ),
    "repeated": (repeated, lambda: {"w": parameter(1, S, 4)}, sequences, {RowsGroup}),
    "added-in-place": (added_in_place, lambda: {"w": parameter(4)}, sequences, {RowsGroup}),
    "input-changed-afterwards": (input_changed_afterwards, bias_alone, vectors, {CallGroup, RowsGroup}),
    "einsum": (
        lambda s, x: scalar(torch.einsum("nsd,de->nse", x, s.w).sin()),
        lambda: {"w": parameter(4, 3)},
        sequences,
        {RowsGroup},
    ),
    "weight-norm-of-a-convolution": (
        lambda s, x: scalar(s.a(x).tanh()),
        lambda: {"a": parametrizations.weight_norm(nn.Conv2d(2, 4, 3, groups=2))},
        images,
        {CallGroup, PulledGroup},
    ),
    "weight-norm-of-a-transposed-one": (
        lambda s, x: scalar(s.a(x).tanh()),
        lambda: {"a": parametrizations.weight_norm(nn.ConvTranspose2d(2, 4, 3, groups=2))},
        images,
        {CallGroup, PulledGroup},
    ),
    "orthogonal": (
        lambda s, x: scalar(s.a(x).tanh()),
        lambda: {"a": parametrizations.orthogonal(nn.Linear(4, 4, bias=False))},
        vectors,
        {PulledGroup},
    ),
    "in-two-orders": (in_two_orders, lambda: {"w": parameter(4, 4)}, vectors, {PulledGroup}),
    "rows-used-twice": (rows_used_twice, lambda: {"w": parameter(4)}, vectors, {PulledGroup}),
    "rows-used-once": (rows_used_once, lambda: {"w": parameter(4)}, vectors, {RowsGroup}),
    "scaled": (scaled, lambda: {"w": parameter(3, 4), "b": parameter(3)}, vectors, {CallGroup}),
    "chunks": (chunks, lambda: {"w": parameter(6, 4)}, sequences, {CallGroup}),
    "overlapping": (overlapping, lambda: {"w": parameter(6, 4)}, vectors, {PulledGroup}),
    "two-kinds-of-layer": (
        two_kinds_of_layer,
        lambda: {"w": parameter(4, 4), "b": parameter(4)},
        vectors,
        {CallGroup, RowsGroup},
    ),
    "tied-table": (
        lambda s, x: F.linear(torch.tanh(s.a(x)).cumsum(1), s.a.weight)[:, -1, 3:4],
        lambda: {"a": nn.Embedding(7, 3, padding_idx=2)},
        tokens,
        {TableGroup},
    ),
}


def network(case):
    forward, parts, inputs, kinds = CASES[case]
    return Net(forward, **parts()), inputs, kinds


@pytest.mark.parametrize(("n", "m", "dtype", "bar"), [(6, 1, torch.float64, 1e-12), (1, 7, torch.float32, 1e-5)])
@pytest.mark.parametrize("case", CASES)
def test_the_kernel_is_that_of_autograd(case, n, m, dtype, bar):
    model, inputs, kinds = network(case)
    x, y = inputs(n), inputs(m)
    phi = embedding(model, dtype=dtype)
    layout = phi.prepare(x)
    assert not layout.left_over
    assert {type(group) for group in layout.groups} == kinds
    assert relative_error(ntk(model, x, dtype=dtype), gram(model, x)) < bar
    assert relative_error(ntk(model, x, y, dtype=dtype), gram(model, x, y)) < bar
    assert relative_error(sum(layer_ntks(model, x, y, dtype=dtype).values()), gram(model, x, y)) < bar


@pytest.mark.parametrize("method", ["gradients", "factors", "expanded"])
@pytest.mark.parametrize("case", CASES)
def test_both_methods_and_small_batches_agree(case, method):
    model, inputs, _ = network(case)
    x = inputs(7)
    phi = embedding(model, dtype=torch.float64)
    phi.prepare(x)
    phi.inner.methods = dict.fromkeys(phi.methods, method)
    phi.inner.samples_at_once = 3
    block = phi.block(x)
    K = torch.zeros(7, 7, dtype=torch.float64)
    block.add_products(block, K)
    assert relative_error(K, gram(model, x)) < 1e-12
    rows = phi(x)
    assert relative_error(rows @ rows.T, K) < 1e-12


def test_a_sample_with_more_entries_than_the_first_ones_has_its_table_written_out():
    def forward(net, x):
        h = torch.tanh(net.a(x))
        scores = F.linear(h, net.a.weight)
        few = x[:, :1] < 6  # true of the first samples alone
        return torch.where(few, scores[:, -1, :1], scores.sum(dim=(1, 2))[:, None])

    model = Net(forward, a=nn.Embedding(7, 3))
    x = torch.cat([torch.randint(0, 6, (8, S)), torch.full((3, S), 6)])
    phi = embedding(model, dtype=torch.float64)
    assert [group.entries for group in phi.prepare(x).groups] == [1]
    phi.inner.methods = dict.fromkeys(phi.methods, "factors")
    block = try_again(lambda: phi.block(x))
    assert [group.entries for group in phi.layout.groups] == [None]
    rows = block.embeddings()
    assert relative_error(rows @ rows.T, gram(model, x)) < 1e-12


def test_other_lengths_of_sequences_have_sites_of_their_own():
    model = Net(
        lambda s, x: s.b(s.a(x.reshape(-1, 4)).tanh().view(len(x), -1, 4)).sin().mean(1).sum(-1, keepdim=True),
        a=nn.Linear(4, 4),
        b=nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
    )
    x, y = torch.rand(6, 5, 4), torch.rand(4, 8, 4)
    assert relative_error(ntk(model, x, y, dtype=torch.float64), gram(model, x, y)) < 1e-12


def test_a_loop_over_samples_falls_back_and_is_right():
    model = Net(lambda s, x: torch.stack([s.a(row).tanh() for row in x]) @ s.b, a=nn.Linear(4, 4), b=parameter(4, 1))
    x = vectors(6)
    assert "do not call the same functions" in embedding(model).prepare(x).left_over["a.weight"]
    assert relative_error(ntk(model, x, dtype=torch.float64), gram(model, x)) < 1e-12


def test_experts_that_take_the_rows_that_the_data_choose_fall_back_and_are_right():
    def forward(net, x):
        y = x.new_zeros(len(x), 3)
        for i, rows in enumerate([x[:, 0] <= 0.5, x[:, 0] > 0.5]):
            y[rows] = F.linear(x[rows], net.w[i]).tanh()
        return scalar(y)

    model = Net(forward, w=parameter(2, 3, 4))
    x = vectors(6)
    x[:, 0] = torch.tensor([0.1, 0.9, 0.9, 0.1, 0.9, 0.1])
    assert embedding(model).prepare(x).left_over["w"] == "it is used in linear"
    assert relative_error(ntk(model, x, dtype=torch.float64), gram(model, x)) < 1e-12


def test_other_calls_in_a_later_batch_fall_back_and_are_right():
    def forward(net, x):
        y = net.a(x)
        if bool((x > 2).any()):
            y = torch.where(x.amax(1, keepdim=True) > 2, net.b(x), y)
        return scalar(y.tanh())

    model = Net(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    x = torch.cat([vectors(6), vectors(3) + 2])
    assert relative_error(ntk(model, x, dtype=torch.float64), gram(model, x)) < 1e-12


@pytest.mark.parametrize("first", [0.0, 2.0])
def test_a_layer_input_that_is_changed_afterwards_is_refused(first):
    def forward(net, x):
        y = x.sin()
        z = net.a(y)
        if bool((x > 1).any()):
            y.mul_(2)
        return scalar(z.tanh() + y)

    model, x = Net(forward, a=nn.Linear(4, 4)), torch.cat([vectors(6) + first, vectors(3) + 2])
    with pytest.raises(UserError, match="the model's gradient fails"):
        ntk(model, x)


def test_a_derivative_inside_the_forward_pass_is_not_taken_for_a_layer():
    def forward(net, x):
        x = x.detach().requires_grad_()
        u = net.b(torch.tanh(net.a(x)))
        (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        return (slope.square().sum(1, keepdim=True) + u).sin()

    model, x = Net(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 1)), vectors(6)
    assert relative_error(ntk(model, x, dtype=torch.float64), gram(model, x)) < 1e-12
