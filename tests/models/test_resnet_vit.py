"""resnet and vit: layers, sizes, refusals."""

import pytest
import torch
from torch import nn

import afterkernel as ak
from afterkernel.errors import UserError
from afterkernel.models.resnet import DEPTHS, Residual
from afterkernel.models.vit import position_code

SHAPES = [(1, 28, 28), (3, 32, 32), (1, 8, 8)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("depth", DEPTHS)
def test_a_resnet_has_as_many_layers_as_asked_for(depth, shape):
    network = ak.models.resnet(shape, width=2, num_layers=depth)
    shortcuts = [part for part in network.modules() if isinstance(part, Residual)]
    ignored = {id(part) for block in shortcuts for part in block.shortcut.modules()}
    layers = [
        part for part in network.modules() if isinstance(part, (nn.Conv2d, nn.Linear)) and id(part) not in ignored
    ]
    assert len(layers) == depth
    assert network(torch.rand(3, *shape)).shape == (3,)


def test_resnet_18_has_the_parameters_of_the_usual_one():
    # 11,173,962 parameters with 10 outputs and 3 channels (He et al. for CIFAR-10, width 64), of which 9 outputs less.
    assert ak.models.resnet((3, 32, 32), width=64).parameter_count == 11_173_962 - 9 * 513


def test_a_residual_block_is_that_of_torchvision():
    from torchvision.models.resnet import BasicBlock

    torch.manual_seed(0)
    ours = ak.models.resnet((3, 32, 32), width=2, num_layers=10).layers[4].eval()  # 2 to 4 channels, stride 2
    down = nn.Sequential(nn.Conv2d(2, 4, 1, stride=2, bias=False), nn.BatchNorm2d(4))
    theirs = BasicBlock(2, 4, stride=2, downsample=down).eval()
    values = iter([*ours.inner.state_dict().values(), *ours.shortcut.state_dict().values()])
    theirs.load_state_dict({name: next(values) for name in theirs.state_dict()})
    x = torch.randn(2, 2, 8, 8)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("budget", [5_000, 123_456])
@pytest.mark.parametrize("depth", [9, 18])
def test_the_width_of_a_resnet_is_the_smallest_that_reaches_the_budget(budget, depth):
    arch = ak.models.ResNet(budget=budget, num_layers=depth)
    width = arch.choose_width((1, 8, 8))
    assert arch.count(width, (1, 8, 8)) >= budget > arch.count(width - 1, (1, 8, 8))
    assert arch.build((1, 8, 8)).parameter_count == arch.count(width, (1, 8, 8))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", [{}, {"patch_size": 2, "depth": 1, "heads": 1}, {"heads": 3, "init": "pytorch"}])
def test_a_vit_has_one_logit_a_sample(shape, options):
    network = ak.models.vit(shape, 5_000, **options)
    assert network(torch.rand(3, *shape)).shape == (3,)
    assert network.width % options.get("heads", 4) == 0


@pytest.mark.parametrize("kind", [ak.models.ResNet, ak.models.ViT])
def test_they_have_one_logit_for_each_of_several_classes(kind):
    network = kind(budget=5_000).build((1, 8, 8), 10)
    assert network(torch.rand(3, 1, 8, 8)).shape == (3, 10)
    assert network.width == kind(budget=5_000).build((1, 8, 8), 10).width


@pytest.mark.parametrize("budget", [3_000, 20_000, 123_456])
@pytest.mark.parametrize("heads", [1, 3, 4])
def test_the_width_of_a_vit_is_the_smallest_multiple_of_its_heads_that_reaches_the_budget(budget, heads):
    arch = ak.models.ViT(budget=budget, heads=heads, depth=2)
    width = arch.choose_width((1, 8, 8))
    assert width % heads == 0
    assert arch.count(width, (1, 8, 8)) >= budget > arch.count(width - heads, (1, 8, 8))


def test_a_vit_block_is_torchs_encoder_layer():
    block = ak.models.vit((1, 8, 8), width=12, heads=3).layers[1]
    theirs = nn.TransformerEncoderLayer(12, 3, 48, dropout=0, activation="gelu", batch_first=True, norm_first=True)
    values = [block.attention.qkv, block.attention.out, block.mlp[0], block.mlp[2], block.norm1, block.norm2]
    names = list(theirs.state_dict())
    tensors = [tensor for layer in values for tensor in (layer.weight, layer.bias)]
    theirs.load_state_dict(dict(zip(names, tensors, strict=True)))
    tokens = torch.randn(2, 5, 12)
    torch.testing.assert_close(block(tokens), theirs(tokens), rtol=1e-4, atol=1e-5)


def test_every_position_has_its_own_code():
    codes = position_code((7, 5), 18)
    assert codes.shape == (35, 18)
    assert len(torch.unique(codes, dim=0)) == 35
    assert (codes[:, 16:] == 0).all()
    # The row is in the first half, and the column in the second.
    assert torch.equal(codes[0, :8], codes[4, :8])
    assert torch.equal(codes[0, 8:16], codes[5, 8:16])


def test_a_vit_sees_where_a_patch_is():
    torch.manual_seed(0)
    network, image = ak.models.vit((1, 8, 8), 5_000).eval(), torch.rand(1, 1, 8, 8)
    assert not torch.allclose(network(image), network(image.roll(4, dims=3)), atol=1e-4)


@pytest.mark.parametrize(
    ("make", "shape", "options", "sentence"),
    [
        (ak.models.resnet, (1, 28, 28), {"num_layers": 11}, "arch.num_layers=11 is not a depth of resnet: choose one"),
        (ak.models.resnet, (1, 28, 28), {"num_layers": 20}, "arch.num_layers=20 is too large: it must be at most 18"),
        (ak.models.resnet, (1, 6, 9), {}, "images of 6x9 are too small: their sides must be at least 8"),
        (
            ak.models.vit,
            (1, 28, 28),
            {"patch_size": 8},
            r"arch.patch_size=8 does not .* 28x28 .* one of 1, 2, 4, 7, 14",
        ),
        (ak.models.vit, (1, 28, 28), {"width": 10}, "arch.width=10 is not a multiple of arch.heads=4"),
        (ak.models.vit, (1, 28, 28), {"budget": 10}, r"arch.budget=10 is too small: .* \(width 4\)"),
        (ak.models.vit, (1, 28, 28), {"heads": 0}, "arch.heads=0 is too small"),
    ],
)
def test_impossible_networks_are_refused(make, shape, options, sentence):
    with pytest.raises(UserError, match=sentence):
        make(shape, **options)
