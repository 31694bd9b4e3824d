"""mup and the mean-field parameterisation: their definitions, and that training does not depend on the width."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import afterkernel as ak
from afterkernel.data.sources.digits import Digits
from afterkernel.errors import UserError
from afterkernel.training.optimizer import make_optimizer
from afterkernel.training.options import Training

DIGITS = (1, 8, 8)
LAYERS = (nn.Linear, nn.Conv2d)


@pytest.fixture(scope="module")
def problem():
    return Digits(max_train=48, max_test=20).load()


def step(network, problem, options):
    optimizer = make_optimizer(network, options)
    F.binary_cross_entropy_with_logits(network(problem.x_train), problem.y_train.float()).backward()
    optimizer.step()


def changes(make, problem, options, **arch):
    """The root mean square change of the output of each layer in one step, over four seeds."""
    squares = []
    for seed in range(4):
        torch.manual_seed(seed)
        network = make(problem.image_shape, **arch)
        outputs = []
        for module in network.modules():
            if isinstance(module, LAYERS):
                module.register_forward_hook(lambda *call, to=outputs: to.append(call[2].detach()))
        network(problem.x_train)
        before = list(outputs)
        step(network, problem, options)
        outputs.clear()
        network(problem.x_train)
        squares.append([(a - b).square().mean() for a, b in zip(outputs, before, strict=True)])
    return torch.tensor(squares).mean(dim=0).sqrt()


@pytest.mark.parametrize("optimizer", [{"lr": 0.5}, {"lr": 0.05, "optimizer": "adam"}], ids=["sgd", "adam"])
@pytest.mark.parametrize(
    ("make", "arch", "widths"),
    [
        (ak.models.mlp, {"init": "mup", "num_layers": 3}, (128, 512)),
        (ak.models.vgg, {"init": "mup", "num_layers": 2, "num_blocks": 1}, (32, 128)),
        (ak.models.mlp, {"init": "meanfield", "num_layers": 1}, (128, 512)),
    ],
    ids=["mlp-mup", "vgg-mup", "mlp-meanfield"],
)
def test_a_step_changes_every_layer_by_the_same_at_every_width(make, arch, widths, optimizer, problem):
    narrow, wide = (changes(make, problem, Training(**optimizer), width=width, **arch) for width in widths)
    torch.testing.assert_close(wide, narrow, rtol=0.35, atol=0)


def test_other_parameterisations_change_hidden_layers_less_the_wider_they_are(problem):
    options, arch = Training(lr=0.5), {"init": "ntk", "num_layers": 3}
    narrow, wide = (changes(ak.models.mlp, problem, options, width=width, **arch) for width in (64, 1024))
    assert (narrow[:-1] > 3 * wide[:-1]).all()


def test_the_sum_network_has_both_parameterisations():
    for init in ("mup", "meanfield"):
        assert ak.models.sum_net(DIGITS, width=9, init=init)(torch.rand(2, *DIGITS)).shape == (2,)


def test_mup_has_the_factors_and_variances_of_its_definition():
    n = 300
    first, hidden, last = [
        layer for layer in ak.models.mlp(DIGITS, width=n, num_layers=2, init="mup").layers if isinstance(layer, LAYERS)
    ]
    for layer, std in ((first, math.sqrt(2 / 64 / n)), (hidden, math.sqrt(2 / n)), (last, math.sqrt(1 / n))):
        assert layer.weight.std().item() == pytest.approx(std, rel=0.1)
    x, h = torch.rand(5, 64), torch.rand(5, n)
    for layer, inputs, weight, bias in (
        (first, x, math.sqrt(n), math.sqrt(n)),
        (hidden, h, 1, math.sqrt(n)),
        (last, h, 1 / math.sqrt(n), 1),
    ):
        nn.init.normal_(layer.bias)
        expected = weight * inputs @ layer.weight.T + bias * layer.bias
        torch.testing.assert_close(layer(inputs), expected, rtol=1e-4, atol=1e-5)


def test_the_mean_field_network_is_a_mean_over_units():
    network = ak.models.mlp(DIGITS, width=200, num_layers=1, init="meanfield")
    w, a = network.layers[1], network.layers[3]
    nn.init.normal_(w.bias)
    x = torch.rand(4, *DIGITS)
    units = F.relu(x.flatten(1) @ w.weight.T + w.bias) * a.weight
    torch.testing.assert_close(network(x), units.mean(dim=1))
    assert a.weight.std().item() == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sgd_moves_mean_field_and_mup_alike(problem, weight_decay):
    """The weights of one are sqrt(n) times those of the other, and the learning rate n times."""
    n, options = 50, Training(lr=0.2, weight_decay=weight_decay)
    mup, field = (ak.models.mlp(DIGITS, width=n, num_layers=1, init=init) for init in ("mup", "meanfield"))
    with torch.no_grad():
        for index in (1, 3):
            field.layers[index].weight.copy_(mup.layers[index].weight * math.sqrt(n))
    for _ in range(3):
        step(mup, problem, options)
        step(field, problem, options)
        torch.testing.assert_close(field(problem.x_test), mup(problem.x_test), rtol=1e-3, atol=1e-5)
        mup.zero_grad()
        field.zero_grad()
    kernels = [ak.ntk(network, problem.x_test) for network in (mup, field)]
    bias = torch.ones_like(kernels[0])  # the bias of the output is the same in both
    torch.testing.assert_close(n * (kernels[1] - bias), kernels[0] - bias, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("init", ["mup", "meanfield"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_weight_decay_shrinks_all_parameters_by_the_same_share(problem, init, optimizer):
    network = ak.models.mlp(DIGITS, width=20, num_layers=1, init=init)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    options = Training(lr=0.5, weight_decay=0.1, optimizer=optimizer)
    made = make_optimizer(network, options)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    for parameter, old in zip(network.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.detach(), old * (1 - 0.5 * 0.1))


def test_parameters_without_factors_are_one_group():
    network = ak.models.vgg(DIGITS, width=4)
    (group,) = make_optimizer(network, Training(lr=0.3, momentum=0.9, weight_decay=0.01)).param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.3, 0.9, 0.01)
    assert [id(p) for p in group["params"]] == [id(p) for p in network.parameters()]


@pytest.mark.parametrize(
    ("make", "options", "reason"),
    [
        (ak.models.mlp, {"init": "meanfield", "num_layers": 2}, r"for arch=mlp: it is defined for one hidden layer"),
        (ak.models.vgg, {"init": "meanfield"}, r"for arch=vgg: it is defined for one hidden layer"),
        (ak.models.resnet, {"init": "mup"}, r"for arch=resnet: the scales and shifts of BatchNorm"),
        (ak.models.vit, {"init": "ntk"}, r"for arch=vit: attention and LayerNorm"),
    ],
)
def test_parameterisations_that_an_architecture_does_not_have_are_refused(make, options, reason):
    with pytest.raises(UserError, match=rf"arch\.init={options['init']} is not possible {reason}"):
        make((1, 8, 8), **options)
