"""The NTK of an infinitely wide fully connected ReLU network, by the arc-cosine recursion.

In the NTK parameterisation (Jacot et al., arXiv 1806.07572, as `models.layers` has it) a layer multiplies its input by
sqrt(gain / fan_in), with gain 2 in hidden layers and 1 at the output, standard normal weights and biases of zero, both
trained. With S the covariance of pre-activations and T the tangent kernel, d the number of pixels,

    S_1 = 2 <x, y> / d                     T_1 = S_1 + 1
    S_l = gain_l E[relu(u) relu(v)]        T_l = S_l + 1 + gain_l E[relu'(u) relu'(v)] T_(l-1),   (u, v) ~ N(0, S_(l-1))

where 1 is the share of a trained bias. For the angle t between u and v (Cho and Saul 2009)

    E[relu(u) relu(v)] = |u| |v| (sin t + (pi - t) cos t) / (2 pi)
    E[relu'(u) relu'(v)] = (pi - t) / (2 pi)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.types import Float, Tensor

HIDDEN_GAIN, OUTPUT_GAIN = 2.0, 1.0
# Below this 1 - cos t has lost digits to rounding, and is computed again from the difference of the vectors.
CLOSE = 1e-4
PAIRS_AT_ONCE = 4096


@dataclass(frozen=True)
class InfiniteWidthNTK:
    """The tangent kernel of a network with these layers, each by whether it has a trained bias; the last is the output.

    Arithmetic is in float64.
    """

    biases: tuple[bool, ...]

    @property
    def identity(self) -> Mapping[str, object]:
        """Its name and layers."""
        return {"kernel": "infinite_ntk", "biases": list(self.biases)}

    def __call__(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        """All pairs."""
        x_length, y_length = x.norm(dim=1), y.norm(dim=1)
        x_unit, y_unit = _unit(x, x_length), _unit(y, y_length)
        apart = 1 - x_unit @ y_unit.T
        for part in torch.split(torch.nonzero(apart < CLOSE), PAIRS_AT_ONCE):
            i, j = part.unbind(1)
            apart[i, j] = (x_unit[i] - y_unit[j]).square().sum(dim=1) / 2
        return self._kernel(apart, x_length[:, None], y_length, x.shape[1])

    def paired(self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """The kernel of x_i and y_i."""
        x_length, y_length = x.norm(dim=1), y.norm(dim=1)
        apart = (_unit(x, x_length) - _unit(y, y_length)).square().sum(dim=1) / 2
        return self._kernel(apart, x_length, y_length, x.shape[1])

    def _kernel(self, apart: Tensor, x_length: Tensor, y_length: Tensor, d: int) -> Tensor:
        """The recursion; `apart` is 1 - cos of the angle between the images.

        ReLUs keep E[relu(u)^2] gain_l at |u|^2 for gain 2, so that lengths stay those of the first layer.
        """
        lengths = HIDDEN_GAIN * x_length * y_length / d
        alive = lengths > 0  # an image of zeros has pre-activations of zero, where torch's ReLU has slope zero
        gains = [HIDDEN_GAIN] * (len(self.biases) - 2) + [OUTPUT_GAIN]
        tangent = lengths * (1 - apart) + self.biases[0]
        if len(self.biases) == 1:
            return lengths / HIDDEN_GAIN * OUTPUT_GAIN * (1 - apart) + self.biases[0]
        for gain, bias in zip(gains, self.biases[1:], strict=True):
            # 2 asin(sqrt(apart / 2)) is the angle without the cancellation of acos near 1.
            angle = 2 * torch.asin((apart / 2).clamp(0, 1).sqrt())
            # 1 - cos of the next layer, as a difference from this one: small ones keep their digits.
            apart = apart - (angle.sin() - angle * (1 - apart)) / math.pi
            slope = torch.where(alive, (math.pi - angle) / (2 * math.pi), 0.0)
            tangent = gain / HIDDEN_GAIN * lengths * (1 - apart) + bias + gain * slope * tangent
        return tangent


def _unit(x: Float[Tensor, "n d"], length: Float[Tensor, " n"]) -> Float[Tensor, "n d"]:
    return x / torch.where(length > 0, length, 1.0)[:, None]


def read_layers(network: nn.Module) -> tuple[bool, ...]:
    """Which linear layers of a fully connected ReLU network have a trained bias, the output last.

    Raises UserError for any other network: the recursion holds for chains of linear layers with ReLUs between them.
    """
    layers = list(_chain(network))
    if layers and isinstance(layers[0], nn.Flatten):
        del layers[0]
    linear, between = layers[::2], layers[1::2]
    fits = len(layers) % 2 == 1 and all(isinstance(layer, nn.ReLU) for layer in between)
    if not fits or not all(isinstance(layer, nn.Linear) for layer in linear) or linear[-1].out_features != 1:
        raise UserError(
            "kernel infinite_ntk exists only for fully connected ReLU networks with one output, such as arch=mlp: "
            "remove it from kernel.names."
        )
    biases = [getattr(layer, "bias", None) for layer in linear]
    return tuple(isinstance(bias, nn.Parameter) and bias.requires_grad for bias in biases)


def _chain(module: nn.Module) -> Sequence[nn.Module]:
    """The modules of a Sequential in the order of their calls, also of one in a network of this package."""
    inner = getattr(module, "layers", None)
    if isinstance(inner, nn.Sequential) and type(module).__module__.startswith("afterkernel.models"):
        module = inner
    if not isinstance(module, nn.Sequential):
        return [module]
    return [layer for part in module for layer in _chain(part)]
