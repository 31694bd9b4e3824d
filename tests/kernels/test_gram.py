"""Gram matrices against an oracle: per-example autograd in float64, one image at a time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_oracle import gradients, relative_error, set_batch_sizes
from torch import nn

import afterkernel as ak
from afterkernel.errors import UserError
from afterkernel.kernels import embedding, train_test_grams
from afterkernel.kernels.gram import paired_products

SHAPE = (1, 8, 8)


class Tied(nn.Module):
    """One weight used in two layers, and a parameter used outside any layer."""

    def __init__(self):
        super().__init__()
        self.inside = nn.Linear(64, 64)
        self.gain = nn.Parameter(torch.tensor(1.5))
        self.out = nn.Linear(64, 1)

    def forward(self, x):
        h = torch.relu(self.inside(x.flatten(1)))
        h = torch.relu(nn.functional.linear(h, self.inside.weight))
        return self.out(self.gain * h)


def conv_with_norms():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, stride=2, padding=1, groups=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=2),
        nn.GroupNorm(2, 6),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.LayerNorm(96),
        nn.Linear(96, 1),
    )


MODELS = {
    "vgg": lambda: ak.models.vgg(SHAPE, 2000),
    "vgg-ntk": lambda: ak.models.vgg(SHAPE, 2000, init="ntk"),
    "mlp": lambda: ak.models.mlp(SHAPE, 2000),
    "sum": lambda: ak.models.sum_net(SHAPE, 200),
    "tied": Tied,
    "conv-norms": conv_with_norms,
}


def oracle_embedding(model, x):
    return gradients(model, x)[:, 0]


@pytest.fixture(params=MODELS)
def model(request):
    made = MODELS[request.param]()
    # Batch statistics away from their start, so that evaluation mode differs from training mode.
    made.train()
    made(torch.rand(20, *SHAPE))
    return made


@pytest.mark.parametrize(("dtype", "bar"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("rows_in_budget", [5, 10_000])
def test_ntk_equals_oracle(model, dtype, bar, rows_in_budget):
    x, y = torch.rand(9, *SHAPE), torch.rand(4, *SHAPE)
    size = sum(p.numel() for p in model.parameters())
    budget = rows_in_budget * size * dtype.itemsize
    K = ak.ntk(model, x, dtype=dtype, budget_bytes=budget)
    K_xy = ak.ntk(model, x, y, dtype=dtype, budget_bytes=budget)
    phi_x, phi_y = oracle_embedding(model, x), oracle_embedding(model, y)
    assert K.shape == (9, 9)
    assert K_xy.shape == (9, 4)
    assert K.dtype == dtype
    assert relative_error(K, phi_x @ phi_x.T) < bar
    assert relative_error(K_xy, phi_x @ phi_y.T) < bar


@pytest.mark.parametrize(("dtype", "bar"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_conjugate_kernel_is_the_product_of_last_hidden_features(dtype, bar):
    model = ak.models.vgg(SHAPE, 2000)
    x, y = torch.rand(9, *SHAPE), torch.rand(5, *SHAPE)
    features = model.double().layers[:-1]
    expected = features(x.double()) @ features(y.double()).T
    K = ak.conjugate_kernel(model, x, y, dtype=dtype, budget_bytes=4 * 8 * model.layers[-1].in_features)
    assert relative_error(K, expected.detach()) < bar


def test_conjugate_kernel_takes_the_linear_layer_that_is_called_last():
    class Swapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(3, 1)
            self.first = nn.Linear(64, 3)

        def forward(self, x):
            return self.last(self.first(x.flatten(1)))

    model, x = Swapped(), torch.rand(4, *SHAPE)
    features = model.first(x.flatten(1)).detach()
    torch.testing.assert_close(ak.conjugate_kernel(model, x), features @ features.T)


def test_train_and_test_grams_are_the_single_ones():
    model, x, y = ak.models.mlp(SHAPE, 2000), torch.rand(11, *SHAPE), torch.rand(6, *SHAPE)
    phi = embedding(model, dtype=torch.float64)
    grams = train_test_grams(phi, x, y, budget_bytes=5 * model.parameter_count * 8)
    K, K_test = grams.train, grams.test
    torch.testing.assert_close(K, ak.ntk(model, x, dtype=torch.float64))
    torch.testing.assert_close(K_test, ak.ntk(model, y, x, dtype=torch.float64))


def test_frozen_parameters_are_left_out():
    model, x = ak.models.mlp(SHAPE, 2000), torch.rand(5, *SHAPE)
    model.layers[1].weight.requires_grad_(False)
    phi = oracle_embedding(model, x)
    assert relative_error(ak.ntk(model, x, dtype=torch.float64), phi @ phi.T) < 1e-12


def test_the_model_is_left_as_it_was():
    model = conv_with_norms().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ak.ntk(model, torch.rand(3, *SHAPE), dtype=torch.float64)
    ak.conjugate_kernel(model, torch.rand(3, *SHAPE))
    assert model.training
    assert next(model.parameters()).dtype == torch.float32
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@given(n=st.integers(1, 16), rows=st.integers(2, 40), seed=st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_symmetry_definiteness_permutation_and_tiles(n, rows, seed):
    torch.manual_seed(seed)
    model, x = ak.models.vgg(SHAPE, 1200), torch.rand(n, *SHAPE)
    size = model.parameter_count
    K = ak.ntk(model, x, dtype=torch.float64, budget_bytes=rows * size * 8)
    assert torch.equal(K, K.T)
    assert torch.linalg.eigvalsh(K).min() > -1e-10 * K.diagonal().max()
    torch.testing.assert_close(K, ak.ntk(model, x, dtype=torch.float64))
    order = torch.randperm(n)
    torch.testing.assert_close(ak.ntk(model, x[order], dtype=torch.float64), K[order][:, order])


def test_one_pass_over_the_whole_is_exact_at_many_tiles(monkeypatch):
    set_batch_sizes(monkeypatch, columns=3)
    model, x, y = ak.models.mlp(SHAPE, 500), torch.rand(17, *SHAPE), torch.rand(8, *SHAPE)
    phi = embedding(model, dtype=torch.float64)
    grams = train_test_grams(phi, x, y, budget_bytes=8 * model.parameter_count * 8)
    K, K_test = grams.train, grams.test
    rows, test_rows = oracle_embedding(model, x), oracle_embedding(model, y)
    assert relative_error(K, rows @ rows.T) < 1e-12
    assert relative_error(K_test, test_rows @ rows.T) < 1e-12


def test_several_outputs_are_refused():
    with pytest.raises(UserError, match="3 outputs per sample"):
        ak.ntk(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), torch.rand(2, *SHAPE))


@pytest.mark.parametrize(
    ("make", "arguments", "sentence"),
    [
        (lambda: nn.Flatten(), {}, "no trainable parameter"),
        (lambda: ak.models.mlp(SHAPE, 500), {"dtype": torch.float16}, "choose torch.float32, torch.float64"),
        (lambda: ak.models.mlp(SHAPE, 500), {"budget_bytes": 100}, "budget_bytes=100 is too small"),
    ],
)
def test_a_user_error_is_reported(make, arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        ak.ntk(make(), torch.rand(4, *SHAPE), **arguments)


def test_empty_input_and_missing_linear_layer_are_reported():
    with pytest.raises(UserError, match="at least one sample"):
        ak.ntk(ak.models.mlp(SHAPE, 500), torch.rand(0, *SHAPE))
    with pytest.raises(UserError, match=r"no linear layer"):
        ak.conjugate_kernel(nn.Conv2d(1, 1, 8), torch.rand(2, *SHAPE))


@pytest.mark.parametrize("rows_in_budget", [4, 1000])
@pytest.mark.parametrize("kernel", [ak.ntk, ak.conjugate_kernel])
def test_a_gradient_that_is_not_finite_names_the_sample_and_the_layer(kernel, rows_in_budget):
    model, x, y = ak.models.mlp(SHAPE, 500), torch.rand(16, *SHAPE), torch.rand(13, *SHAPE)
    budget = rows_in_budget * model.parameter_count * 4
    x[14, 0, 0, 0] = x[15, 0, 0, 0] = torch.nan
    layer = r"layers\.\d" if kernel is ak.ntk else "features"
    with pytest.raises(UserError, match=rf"sample 14 is not finite in layer {layer}"):
        kernel(model, x, budget_bytes=budget)
    with pytest.raises(UserError, match="sample 14 is not finite"):
        kernel(model, x, y, budget_bytes=budget)
    with pytest.raises(UserError, match="sample 14 is not finite"):
        kernel(model, y, x, budget_bytes=budget)


@pytest.mark.parametrize("kernel", ["ntk", "conjugate"])
def test_embeddings_are_computed_in_tf32_only_on_request(kernel):
    """cuDNN has it on by default; its rounding looked like a gradient that depends on the other samples."""
    seen = []

    class Watched(nn.Linear):
        def forward(self, x):
            seen.append(torch.backends.cudnn.allow_tf32)
            return super().forward(x)

    assert torch.backends.cudnn.allow_tf32
    phi = embedding(nn.Sequential(Watched(4, 3), nn.Tanh(), nn.Linear(3, 1)), kernel)
    phi.plan_layers(torch.rand(5, 4))
    phi(torch.rand(5, 4))
    assert seen
    assert not any(seen)


@pytest.mark.gpu
def test_a_gpu_pairs_as_the_oracle():
    model, x, y = ak.models.vgg(SHAPE, 3000), torch.rand(30, *SHAPE), torch.rand(30, *SHAPE)
    expected = (gradients(model, x) * gradients(model, y)).sum(dim=(1, 2))
    found = paired_products(embedding(model, device="cuda"), x, y)
    assert relative_error(found.cpu(), expected) < 1e-5


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "bar"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_gpu_equals_oracle(model, dtype, bar):
    x, y = torch.rand(40, *SHAPE), torch.rand(7, *SHAPE)
    K = ak.ntk(model, x, dtype=dtype, device="cuda")
    K_xy = ak.ntk(model, x, y, dtype=dtype, device="cuda")
    assert K.device.type == "cuda"
    phi_x, phi_y = oracle_embedding(model, x), oracle_embedding(model, y)
    assert relative_error(K.cpu(), phi_x @ phi_x.T) < bar
    assert relative_error(K_xy.cpu(), phi_x @ phi_y.T) < bar
