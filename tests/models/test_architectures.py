"""Networks: widths and counts of the paper, shapes, initialisers, and what is refused."""

import math
from dataclasses import dataclass

import pytest
import torch

import afterkernel as ak
from afterkernel.errors import UserError
from afterkernel.models import ARCHITECTURES, Architecture
from afterkernel.options import option

MNIST, CIFAR, DIGITS = (1, 28, 28), (3, 32, 32), (1, 8, 8)


@pytest.mark.parametrize(
    ("make", "shape", "width", "parameters"),
    [
        (ak.models.vgg, MNIST, 38, 95_267),
        (ak.models.vgg, CIFAR, 37, 92_205),
        (ak.models.mlp, MNIST, 94, 100_675),
        (ak.models.mlp, CIFAR, 32, 101_537),
        (ak.models.sum_net, MNIST, 33_333, 100_000),
    ],
)
def test_budget_of_1e5_gives_the_papers_networks(make, shape, width, parameters):
    network = make(shape, 100_000)
    assert network.width == width
    assert network.parameter_count == parameters == sum(p.numel() for p in network.parameters())
    assert network(torch.rand(3, *shape)).shape == (3,)


def test_vgg_has_the_layers_of_its_options():
    network = ak.models.vgg(DIGITS, width=4, num_layers=4, num_blocks=2)
    kinds = [type(layer).__name__ for layer in network.layers]
    block = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"]
    assert kinds == [*block, *block, "Flatten", "Linear"]
    convolutions = [layer for layer in network.layers if isinstance(layer, torch.nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [(1, 4), (4, 4), (4, 8), (8, 8)]
    assert network.layers[-1].in_features == 2 * 2 * 8


def test_pools_round_odd_sides_up():
    # 7 -> 4 -> 2: a "same" pool keeps the last row and column.
    assert ak.models.vgg((1, 7, 7), width=4).layers[-1].in_features == 2 * 2 * 8


def test_the_count_of_the_budget_divides_the_side_exactly():
    # Side 28 through three blocks counts 3.5^2 positions, as the paper's program does, where the network has 4^2.
    arch = ARCHITECTURES["vgg"](num_layers=3, num_blocks=3)
    assert arch.count(4, MNIST) == 1 * 4 * 10 + 4 * 8 * 10 + 8 * 16 * 10 + 3.5**2 * 16 + 1


def test_mlp_counts_as_the_paper():
    arch = ARCHITECTURES["mlp"]()
    assert arch.count(94, MNIST) == 784 * 94 + 3 * 95 * 94 + 94 + 1


def test_the_sum_network_sees_the_sum_alone():
    network, image = ak.models.sum_net(DIGITS, 100), torch.rand(1, *DIGITS)
    shuffled = image.flatten()[torch.randperm(64)].reshape(1, *DIGITS)
    torch.testing.assert_close(network(image), network(shuffled))


def test_glorot_is_uniform_within_its_bound_and_biases_are_zero():
    network = ak.models.vgg(MNIST, 100_000)
    layer = network.layers[7]  # 76 -> 76 channels
    bound = math.sqrt(6 / (9 * 76 + 9 * 76))
    assert layer.weight.abs().max() <= bound
    assert layer.weight.abs().max() > 0.99 * bound
    assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert all((module.bias == 0).all() for module in network.layers if hasattr(module, "bias"))


def test_ntk_parameterisation_has_unit_weights_and_scales_in_the_forward_pass():
    network = ak.models.mlp(MNIST, 100_000, init="ntk")
    layer, x = network.layers[1], torch.rand(5, 784)
    assert layer.weight.std().item() == pytest.approx(1, rel=0.02)
    expected = x @ layer.weight.T * math.sqrt(2 / 784)
    torch.testing.assert_close(layer(x), expected)
    assert network.layers[-1].scale == math.sqrt(1 / network.width)
    convolution, image = ak.models.vgg(MNIST, 100_000, init="ntk").layers[0], torch.rand(1, *MNIST)
    plain = torch.nn.functional.conv2d(image, convolution.weight, padding=1) * math.sqrt(2 / 9)
    torch.testing.assert_close(convolution(image), plain)


def test_pytorch_initialiser_is_pytorchs():
    torch.manual_seed(3)
    ours = ak.models.mlp(DIGITS, width=7, num_layers=1, init="pytorch")
    torch.manual_seed(3)
    theirs = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 7), torch.nn.ReLU(), torch.nn.Linear(7, 1))
    x = torch.rand(4, *DIGITS)
    torch.testing.assert_close(ours(x), theirs(x).squeeze(-1))


@pytest.mark.parametrize(
    ("make", "shape", "options", "sentence"),
    [
        (ak.models.vgg, MNIST, {"budget": 10}, "arch.budget=10 is too small: vgg on 1x28x28 images has at least"),
        (ak.models.mlp, MNIST, {"budget": 10}, r"arch.budget=10 .* \(width 5\)"),
        (ak.models.vgg, MNIST, {"num_layers": 5}, "arch.num_layers=5 does not divide"),
        (ak.models.vgg, (1, 6, 6), {"num_layers": 3, "num_blocks": 3}, "arch.num_blocks=3 is too many"),
        (ak.models.mlp, MNIST, {"init": "xavier"}, "arch.init=xavier is not known: choose one of glorot"),
        (ak.models.mlp, MNIST, {"width": 0}, "arch.width=0 is too small"),
    ],
)
def test_impossible_networks_are_reported(make, shape, options, sentence):
    with pytest.raises(UserError, match=sentence):
        make(shape, **options)


def test_every_architecture_is_found_by_its_name():
    assert set(ARCHITECTURES) == {"vgg", "mlp", "sum", "resnet", "vit"}


@pytest.mark.parametrize("name", ["mlp", "vgg", "sum"])
@pytest.mark.parametrize("budget", [1_500, 1_501, 20_000, 123_456, 7_654_321])
def test_the_width_is_the_smallest_that_reaches_the_budget(name, budget):
    arch = ARCHITECTURES[name](budget=budget)
    width = arch.choose_width(DIGITS)
    assert arch.count(width, DIGITS) >= budget
    assert width == arch.minimum_width or arch.count(width - 1, DIGITS) < budget


def test_the_smallest_network_is_taken_where_it_reaches_the_budget():
    arch = ARCHITECTURES["mlp"](budget=1)
    arch.budget = int(arch.count(5, DIGITS))
    assert arch.choose_width(DIGITS) == 5


@pytest.mark.parametrize("options", [{"budget": 10**12}, {"width": 2**31 - 1}])
def test_a_network_larger_than_the_memory_is_refused_before_it_is_made(options):
    with pytest.raises(UserError, match=r"do not fit into this machine's memory of .* GiB"):
        ak.models.mlp(DIGITS, **options)


@dataclass
class Own(Architecture):
    """A user's own architecture: its name, its options, and one method."""

    name: str = option("own", "which architecture (set by arch=NAME)")
    outputs: int = option(1, "number of outputs")

    def module(self, width, image_shape):
        return torch.nn.Sequential(
            torch.nn.Conv2d(image_shape[0], width, 3),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
            torch.nn.Linear(width, self.outputs),
        )


def test_parameters_of_an_own_module_are_counted_for_the_budget():
    before = torch.get_rng_state()
    assert Own(budget=230).choose_width(CIFAR) == 8  # 27 w + w + w + 1 = 29 w + 1
    assert torch.equal(torch.get_rng_state(), before)
    network = Own(budget=230).build(CIFAR)
    assert (network.width, network.parameter_count) == (8, 233)
    assert network(torch.rand(3, *CIFAR)).shape == (3,)


def test_an_own_module_of_one_size_is_taken_as_it_is():
    class OneSize(Own):
        def module(self, width, image_shape):
            return torch.nn.Sequential(super().module(5, image_shape), torch.nn.Flatten(0))

    network = OneSize(budget=10).build(DIGITS)
    assert (network.width, network.parameter_count) == (1, 56)
    assert network(torch.rand(1, *DIGITS)).shape == (1,)


def test_an_own_module_must_give_one_logit():
    with torch.device("meta"):
        Own(budget=300).build(DIGITS)
        with pytest.raises(UserError, match=r"arch=own gives outputs of shape \(2, 10\) for 2 images: a network must"):
            Own(outputs=10).build(DIGITS)
        with pytest.raises(UserError, match=r"arch=own does not run on images of shape \(1, 2, 2\): .*[Kk]ernel size"):
            Own(budget=300).build((1, 2, 2))


def test_an_own_architecture_has_no_parameterisation_that_needs_its_own_layers():
    with pytest.raises(UserError, match=r"arch\.init=mup is not possible for arch=own: its layers do not have"):
        Own(budget=300, init="mup").build(DIGITS)


@pytest.mark.parametrize(
    ("made", "message"),
    [(None, "arch=own gives NoneType: it must give a torch.nn.Module"), (torch.nn.Flatten(), "has no trainable param")],
)
def test_an_own_module_must_be_one_with_parameters(made, message):
    class Wrong(Own):
        def module(self, width, image_shape):
            return made

    with pytest.raises(UserError, match=message):
        Wrong(budget=300).build(DIGITS)
