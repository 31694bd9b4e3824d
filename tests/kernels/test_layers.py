"""Every layer by both methods against per-example autograd in float64."""

import copy

import pytest
import torch
from kernel_oracle import Net, force_method, gradients, gram, relative_error, scalar
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels import embedding, layer_ntks, ntk

BARS = {torch.float64: 1e-12, torch.float32: 1e-5}


def images(n):
    return torch.rand(n, 4, 7, 6)


def sequences(n):
    return torch.rand(n, 5, 4)


def vectors(n):
    return torch.rand(n, 4)


def signals(n):
    return torch.rand(n, 4, 9)


def tokens(n):
    return torch.randint(0, 7, (n, 5))


def frozen(layer, *names):
    for name in names:
        getattr(layer, name).requires_grad_(False)
    return layer


def stirred(norm):
    """A normalisation with scales, shifts and running statistics away from where they start."""
    for value in [*norm.parameters(), *(b for b in norm.buffers() if b.is_floating_point())]:
        value.data.uniform_(0.5, 2)
    return norm


CAPTURED = {
    "linear": (lambda: nn.Linear(4, 3), vectors),
    "linear-no-bias": (lambda: nn.Linear(4, 3, bias=False), vectors),
    "linear-frozen-weight": (lambda: frozen(nn.Linear(4, 3), "weight"), vectors),
    "linear-frozen-bias": (lambda: frozen(nn.Linear(4, 3), "bias"), vectors),
    "linear-sequence": (lambda: nn.Linear(4, 3), sequences),
    "linear-sequence-no-bias": (lambda: nn.Linear(4, 3, bias=False), sequences),
    "linear-sequence-frozen-weight": (lambda: frozen(nn.Linear(4, 3), "weight"), sequences),
    "linear-images": (lambda: nn.Linear(6, 2), images),
    "conv1d": (lambda: nn.Conv1d(4, 3, 3, stride=2, padding=1), signals),
    "conv1d-same": (lambda: nn.Conv1d(4, 6, 4, padding="same", groups=2, dilation=2), signals),
    "conv1d-circular": (lambda: nn.Conv1d(4, 3, 3, padding=1, padding_mode="circular", bias=False), signals),
    "conv2d": (lambda: nn.Conv2d(4, 3, 3, padding=1), images),
    "conv2d-valid-no-bias": (lambda: nn.Conv2d(4, 3, 3, padding="valid", bias=False), images),
    "conv2d-same-even": (lambda: nn.Conv2d(4, 3, (2, 4), padding="same"), images),
    "conv2d-same-dilated": (lambda: nn.Conv2d(4, 4, (4, 3), padding="same", dilation=(1, 2), groups=4), images),
    "conv2d-uneven": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 3), padding=(2, 1), dilation=(2, 1)), images),
    "conv2d-groups": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), images),
    "conv2d-depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4, bias=False), images),
    "conv2d-reflect": (lambda: nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect"), images),
    "conv2d-1x1": (lambda: nn.Conv2d(4, 3, 1, stride=2), images),
    "conv2d-whole-image": (lambda: nn.Conv2d(4, 3, (7, 6)), images),
    "conv2d-frozen-weight": (lambda: frozen(nn.Conv2d(4, 6, 3, groups=2), "weight"), images),
    "conv2d-frozen-bias": (lambda: frozen(nn.Conv2d(4, 6, 3, groups=2), "bias"), images),
    "embedding": (lambda: nn.Embedding(7, 3), tokens),
    "embedding-padding": (lambda: nn.Embedding(7, 3, padding_idx=2), tokens),
    "embedding-negative-padding": (lambda: nn.Embedding(7, 3, padding_idx=-1), tokens),
    "embedding-sparse": (lambda: nn.Embedding(7, 3, sparse=True), tokens),
    "embedding-one-index": (lambda: nn.Embedding(7, 3), lambda n: tokens(n)[:, 0]),
    "layer-norm": (lambda: stirred(nn.LayerNorm(4)), sequences),
    "layer-norm-two-dimensions": (lambda: stirred(nn.LayerNorm((5, 4))), sequences),
    "layer-norm-no-bias": (lambda: stirred(nn.LayerNorm(4, bias=False)), sequences),
    "layer-norm-frozen-weight": (lambda: frozen(stirred(nn.LayerNorm(4)), "weight"), sequences),
    "rms-norm": (lambda: stirred(nn.RMSNorm(4)), sequences),
    "rms-norm-eps": (lambda: stirred(nn.RMSNorm((5, 4), eps=0.1)), sequences),
    "group-norm": (lambda: stirred(nn.GroupNorm(2, 4)), images),
    "group-norm-frozen-bias": (lambda: frozen(stirred(nn.GroupNorm(2, 4)), "bias"), signals),
    "batch-norm-2d": (lambda: stirred(nn.BatchNorm2d(4)), images),
    "batch-norm-1d": (lambda: stirred(nn.BatchNorm1d(4)), vectors),
    "batch-norm-frozen-weight": (lambda: frozen(stirred(nn.BatchNorm2d(4)), "weight"), images),
    "attention": (
        lambda: Net(lambda s, x: s.a(x, x, x)[0], a=nn.MultiheadAttention(4, 2, batch_first=True)),
        sequences,
    ),
    "attention-positions-first": (
        lambda: Net(
            lambda s, x: s.a(x.transpose(0, 1), x.transpose(0, 1).sin(), x.transpose(0, 1).cos())[0].transpose(0, 1),
            a=nn.MultiheadAttention(4, 1, add_bias_kv=True),
        ),
        sequences,
    ),
    "embedding-max-norm": (lambda: nn.Embedding(7, 3, max_norm=1.0), tokens),
    "transformer": (lambda: nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), sequences),
    "lstm": (lambda: Net(lambda s, x: s.a(x)[0], a=nn.LSTM(4, 3, batch_first=True)), sequences),
    "parameter": (lambda: Net(lambda s, x: x * s.gain, gain=nn.Parameter(torch.rand(4))), vectors),
    "conv3d": (lambda: Net(lambda s, x: s.a(x[:, None]), a=nn.Conv3d(1, 2, 3)), images),
    "conv3d-uneven": (
        lambda: Net(
            lambda s, x: s.a(x.unflatten(1, (2, 2))), a=nn.Conv3d(2, 4, (1, 3, 2), (1, 2, 1), (1, 0, 1), (1, 1, 2), 2)
        ),
        images,
    ),
    "transposed": (lambda: nn.ConvTranspose2d(4, 2, 3), images),
    "transposed-uneven": (
        lambda: nn.ConvTranspose2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 0), groups=2, dilation=(1, 3)),
        images,
    ),
    "transposed-1d": (lambda: nn.ConvTranspose1d(4, 3, 3, stride=2, dilation=3, output_padding=2), signals),
    "transposed-3d": (lambda: Net(lambda s, x: s.a(x[:, None]), a=nn.ConvTranspose3d(1, 2, 2, bias=False)), images),
    "instance-norm": (lambda: stirred(nn.InstanceNorm2d(4, affine=True)), images),
    "bilinear": (lambda: Net(lambda s, x: s.a(x, x.sin()), a=nn.Bilinear(4, 4, 2)), vectors),
    "prelu": (lambda: Net(lambda s, x: s.a(x - 0.5), a=nn.PReLU(4)), images),
    "prelu-one-slope": (lambda: Net(lambda s, x: s.a(x - 0.5), a=nn.PReLU()), images),
}


def network(make):
    return Net(lambda s, x: scalar(s.layer(x)), layer=make())


def products(a, b):
    K = torch.zeros(len(a), len(b), dtype=a.embeddings().dtype)
    a.add_products(b, K)
    return K


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("method", ["gradients", "factors", "expanded"])
@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize("case", CAPTURED)
def test_a_captured_layer_equals_autograd(case, dtype, method):
    make, inputs = CAPTURED[case]
    model, x, y = network(make), inputs(7), inputs(4)
    phi = embedding(model, dtype=dtype)
    layout = phi.prepare(x)
    assert not layout.left_over
    phi.inner.methods = dict.fromkeys(phi.methods, method)
    expected, expected_xy = gram(model, x), gram(model, x, y)
    a, b = phi.block(x), phi.block(y)
    assert relative_error(products(a, a), expected) < BARS[dtype]
    assert relative_error(products(a, b), expected_xy) < BARS[dtype]
    assert relative_error(a[slice(0, 4)].paired_products(b), expected_xy[:4].diagonal(), expected_xy) < BARS[dtype]
    rows = phi(torch.cat([x, y]))
    assert relative_error(rows[:7] @ rows[7:].T, expected_xy) < BARS[dtype]
    assert a.bytes == a.empty_like(7).bytes


def test_gradients_scaled_by_the_frequency_in_the_batch_are_right_or_refused():
    model, x = network(lambda: nn.Embedding(7, 3, scale_grad_by_freq=True)), tokens(7)
    message = ""
    try:
        K = ntk(model, x, dtype=torch.float64)
    except UserError as error:
        message = str(error)
    assert "depends on the others" in message or relative_error(K, gram(model, x)) < 1e-12


@pytest.mark.parametrize("dtype", BARS)
def test_the_plan_says_how_a_recurrent_layer_is_differentiated(dtype):
    phi = embedding(network(CAPTURED["lstm"][0]), dtype=dtype)
    assert "differentiated by itself" in phi.plan_layers(sequences(3))[0].reason


@pytest.mark.parametrize("method", ["gradients", "factors"])
def test_rows_written_out_in_two_calls_belong_together(method):
    model, x, y = network(CAPTURED["embedding"][0]), torch.randint(0, 3, (4, 5)), tokens(6)
    phi = embedding(model, dtype=torch.float64)
    phi.prepare(x)
    phi.inner.methods = dict.fromkeys(phi.methods, method)
    assert relative_error(phi(x) @ phi(y).T, gram(model, x, y)) < 1e-12


@pytest.mark.parametrize("make", [lambda: nn.Linear(4, 1), lambda: nn.Conv1d(4, 1, 9)])
def test_a_layer_that_is_the_whole_model_is_captured(make):
    model, x = make(), vectors(5) if isinstance(make(), nn.Linear) else signals(5)
    assert not embedding(model).prepare(x).left_over
    assert relative_error(ntk(model, x, dtype=torch.float64), gram(model, x)) < 1e-12


def everything():
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1, groups=2),
        stirred(nn.BatchNorm2d(6)),
        nn.Tanh(),
        nn.AvgPool2d(2),
        stirred(nn.GroupNorm(3, 6)),
        nn.Conv2d(6, 4, 2, stride=2),
        nn.Tanh(),
        nn.ConvTranspose2d(4, 3, 2),
        nn.Flatten(),
        nn.LayerNorm(12),
        nn.Linear(12, 1),
    )


@pytest.mark.parametrize("method", ["gradients", "factors"])
def test_the_kernels_of_layers_sum_to_the_whole(method, monkeypatch):
    force_method(monkeypatch, method)
    model, x, y = everything(), torch.rand(9, 4, 6, 5), torch.rand(4, 4, 6, 5)
    K, K_xy = ntk(model, x, dtype=torch.float64), ntk(model, x, y, dtype=torch.float64)
    layers, layers_xy = layer_ntks(model, x, dtype=torch.float64), layer_ntks(model, x, y, dtype=torch.float64)
    assert set(layers) == {name for name, part in model.named_children() if list(part.parameters())}
    assert relative_error(sum(layers.values()), K) < 1e-12
    assert relative_error(sum(layers_xy.values()), K_xy) < 1e-12
    assert relative_error(K, gram(model, x)) < 1e-12
    assert relative_error(K_xy, gram(model, x, y)) < 1e-12


def test_the_kernel_of_a_layer_is_that_of_its_own_parameters():
    model, x = everything(), torch.rand(5, 4, 6, 5)
    layers = layer_ntks(model, x, dtype=torch.float64)
    start = 0
    rows = gradients(model, x)[:, 0]
    for name, part in model.named_children():
        size = sum(p.numel() for p in part.parameters())
        if size:
            own = rows[:, start : start + size]
            assert relative_error(layers[name], own @ own.T) < 1e-12
        start += size


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm2d(8), nn.BatchNorm2d(8).requires_grad_(False), nn.InstanceNorm2d(8, affine=True)],
    ids=["batch", "frozen", "instance"],
)
def test_a_single_image_in_front_of_tokens(norm):
    """Torch's own gradient is wrong there: the reference takes a batch of two copies of the image."""
    model = (
        Net(
            lambda s, x: scalar(s.norm(s.first(s.conv(x)).flatten(2).transpose(1, 2))),
            conv=nn.Conv2d(2, 8, 3, padding=1),
            first=copy.deepcopy(norm),
            norm=nn.LayerNorm(8),
        )
        .double()
        .eval()
    )
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 2)
    x = torch.rand(1, 2, 6, 6, dtype=torch.float64)
    grads = torch.autograd.grad(model(x[[0, 0]])[0], [v for v in model.parameters() if v.requires_grad])
    expected = sum(grad.square().sum() for grad in grads).view(1, 1)
    assert relative_error(ntk(model, x, dtype=torch.float64), expected) < 1e-12
