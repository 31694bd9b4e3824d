"""The choice of the parameters that a kernel is made of."""

import pytest
import torch
from kernels.kernel_oracle import Net, gradients, relative_error
from torch import nn

import afterkernel as ak
from afterkernel.errors import UserError

X = torch.rand(12, 5)


def network():
    torch.manual_seed(0)
    model = Net(
        lambda s, x: s.out(s.gain * torch.tanh(s.body(x))),
        body=nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 4)),
        out=nn.Linear(4, 1),
        gain=nn.Parameter(torch.rand(4)),
        tied=nn.Linear(4, 4),
    )
    model.tied.weight = model.body[2].weight
    model.tied.bias.requires_grad_(False)
    return model


def expected(names):
    model = network()
    for name, value in model.named_parameters():
        value.requires_grad_(name in names)
    phi = gradients(model, X)[:, 0]
    return phi @ phi.T


CHOICES = {
    "a parameter": ("gain", ["gain"]),
    "a module": ("body", ["body.0.weight", "body.0.bias", "body.2.weight", "body.2.bias"]),
    "a module inside": ("body.2", ["body.2.weight", "body.2.bias"]),
    "a pattern": ("*.bias", ["body.0.bias", "body.2.bias", "out.bias"]),
    "a pattern of modules": ("body.[01]", ["body.0.weight", "body.0.bias"]),
    "several": (["out", "gain"], ["out.weight", "out.bias", "gain"]),
    "another name of a shared one": ("tied.weight", ["body.2.weight"]),
    "a function": (lambda name, value: value.ndim == 1 and "body" not in name, ["out.bias", "gain"]),
}


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_is_the_kernel_with_all_others_frozen(name):
    choice, names = CHOICES[name]
    model = network()
    K = ak.ntk(model, X, parameters=choice, dtype=torch.float64)
    assert relative_error(K, expected(names)) < 1e-12
    assert all(value.requires_grad for key, value in model.named_parameters() if key != "tied.bias")
    layers = ak.kernels.layer_ntks(model, X, parameters=choice, dtype=torch.float64)
    assert relative_error(sum(layers.values()), expected(names)) < 1e-12


def test_parts_add_up_and_a_store_knows_them(tmp_path):
    model = network()
    parts = [ak.ntk(model, X, parameters=choice, dtype=torch.float64) for choice in ("body", "out", "gain")]
    assert relative_error(sum(parts), ak.ntk(model, X, dtype=torch.float64)) < 1e-12
    ak.ntk(model, X, parameters="out", store=tmp_path)
    with pytest.raises(UserError, match="holds the tiles of another job"):
        ak.ntk(model, X, parameters="body", store=tmp_path)


REFUSED = {
    "a typing error": ("bodi.0", "parameters='bodi.0' is no parameter or module of the model: did you mean 'body.0'"),
    "nothing like it": (
        ["out", "zzz"],
        "parameters='zzz' is no parameter .* model.named_parameters.. lists their names",
    ),
    "a frozen one": ("tied.bias", "parameters='tied.bias' is frozen"),
    "no names": ([], r"parameters=\[\] chooses no parameters: give names"),
    "an empty name": ("", "parameters='' chooses no parameters"),
    "a function that is never true": (lambda name, value: False, "chooses none of the model's trainable parameters"),
    "a function that fails": (lambda name, value: 1 / 0, "parameters= fails for gain .ZeroDivisionError"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_chooses_nothing(name):
    choice, message = REFUSED[name]
    with pytest.raises(UserError, match=message) as raised:
        ak.ntk(network(), X, parameters=choice)
    assert "\n" not in str(raised.value)


def test_details_say_how_exact_a_kernel_is():
    model = network()
    result = ak.ntk(model, X, details=True)
    assert torch.equal(result.kernel, ak.ntk(model, X))
    assert 0 <= result.relative_error < 1e-5
    assert result.plan.n == 12
    assert result.dtype == "float32"
    assert ak.ntk(model, X, dtype="bf16", details=True).relative_error > 1e-5
    assert ak.ntk(model, X, X, details=True).relative_error is None
    features = ak.conjugate_kernel(model, X, details=True)
    assert torch.equal(features.kernel, ak.conjugate_kernel(model, X))
