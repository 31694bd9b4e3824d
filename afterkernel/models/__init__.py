"""Networks with one logit, each sized by a parameter budget. A new architecture is a new file here."""

from afterkernel.models.architecture import Architecture, Network
from afterkernel.models.mlp import MLP, mlp
from afterkernel.models.sum_net import Sum, sum_net
from afterkernel.models.vgg import VGG, vgg
from afterkernel.plugins import Registry

ARCHITECTURES: Registry[type[Architecture]] = Registry(__name__, Architecture, overrides=("module",))

__all__ = ["ARCHITECTURES", "MLP", "VGG", "Architecture", "Network", "Sum", "mlp", "sum_net", "vgg"]
