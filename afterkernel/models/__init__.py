"""Networks with one logit, each sized by a parameter budget. A new architecture is a new file here."""

from afterkernel.models.architecture import Architecture, Network
from afterkernel.models.mlp import MLP, mlp
from afterkernel.models.resnet import ResNet, resnet
from afterkernel.models.sum_net import Sum, sum_net
from afterkernel.models.vgg import VGG, vgg
from afterkernel.models.vit import ViT, vit
from afterkernel.plugins import Registry

ARCHITECTURES: Registry[type[Architecture]] = Registry(__name__, Architecture, overrides=("module",))

__all__ = [
    "ARCHITECTURES",
    "MLP",
    "VGG",
    "Architecture",
    "Network",
    "ResNet",
    "Sum",
    "ViT",
    "mlp",
    "resnet",
    "sum_net",
    "vgg",
    "vit",
]
