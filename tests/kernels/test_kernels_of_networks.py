"""Kernels of the networks of sweeps, and of the function that a run trains, against per-sample autograd in float64."""

import pytest
import torch
from kernel_oracle import gram
from torch import nn

import afterkernel as ak
from afterkernel.kernels import embedding, train_test_plan
from afterkernel.training.function import Centred


@pytest.mark.parametrize(
    ("make", "shape", "options"),
    [
        (ak.models.resnet, (1, 8, 8), {"width": 2, "num_layers": 10}),
        (ak.models.resnet, (1, 9, 9), {"width": 2, "num_layers": 9}),
        (ak.models.vit, (1, 8, 8), {"width": 8, "heads": 2, "depth": 2}),
    ],
    ids=["resnet-10", "resnet-9", "vit"],
)
def test_the_kernels_of_a_trained_network_are_those_of_autograd(make, shape, options):
    torch.manual_seed(0)
    network, x, y = make(shape, **options), torch.rand(8, *shape), torch.randint(2, (8,)).float()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(network(x), y).backward()
        optimizer.step()
    expected = gram(network, x)
    assert (ak.ntk(network, x).double() - expected).abs().max() < 1e-4 * expected.abs().max()
    features = network.eval().layers[:-1](x).detach()
    torch.testing.assert_close(ak.conjugate_kernel(network, x), features @ features.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_no_parameter_needs_per_example_gradients(name):
    network = getattr(ak.models, name)((1, 8, 8), 8_000)
    x = torch.rand(20, 1, 8, 8)
    plan = train_test_plan(embedding(network, "ntk"), x, x, 2**30, torch.float32).describe(1e9)
    assert "gradients" in plan
    assert "per-example" not in plan


@pytest.mark.parametrize("name", ["mlp", "vgg"])
def test_the_kernel_of_a_centred_and_scaled_output_is_that_of_the_network_times_the_square_of_the_scale(name):
    torch.manual_seed(0)
    network, x = getattr(ak.models, name)((1, 8, 8), width=6, init="mup"), torch.rand(10, 1, 8, 8)
    network.output_scale = 5.0
    function = Centred(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    expected = gram(function, x)
    K = ak.ntk(network, x).double()
    assert (K - expected).abs().max() < 1e-5 * expected.abs().max()
    features = ak.conjugate_kernel(network, x)
    network.output_scale = 1.0
    torch.testing.assert_close(25 * ak.ntk(network, x).double(), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(ak.conjugate_kernel(network, x), features)
