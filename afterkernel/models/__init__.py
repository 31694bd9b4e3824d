"""Networks with one logit, or one for each of several classes, sized by a parameter budget; one file each."""

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
