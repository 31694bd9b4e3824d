"""The machine's own limit: what no exact method of these operations can beat.

One forward and backward pass over the images, and the multiplications of the smallest known operation count at the
rate of large matrix products, all measured in this run. The count, for one pair of images and one layer: its number of
parameters, or for a linear layer on vectors its inputs plus its outputs, as that layer's kernel is a product of two
inner products, (1 + <a, a'>) <g, g'>.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from afterkernel.models import Network
from afterkernel.types import Tensor
from side_by_side.measure import REPEATS, seconds

BATCHES = (64, 256, 1024)  # whichever this machine likes best
PASSED_IMAGES = 2048  # the time of a pass grows in proportion from there
PRODUCTS = ((1024, 1024, 26_000), (2048, 2048, 8192), (4096, 4096, 4096))


def limit_s(network: Network, x: Tensor, x_test: Tensor | None, synchronise: Callable[[], None]) -> float:
    """Seconds of the limit for x with itself and, where given, x_test with x."""
    n, m = len(x), 0 if x_test is None else len(x_test)
    pairs = n * (n + 1) // 2 + m * n
    some = x[:PASSED_IMAGES]
    passes = min(_pass_s(network, some, size, synchronise) for size in BATCHES) * (n + m) / len(some)
    return passes + pairs * multiplications_a_pair(network) / _rate(x.device, synchronise)


def multiplications_a_pair(network: nn.Module) -> int:
    """The smallest known count for one entry of the Gram matrix, given gradients and activations."""
    count = 0
    for layer in network.modules():
        own = sum(parameter.numel() for parameter in layer.parameters(recurse=False))
        if isinstance(layer, nn.Linear):
            own = min(own, layer.in_features + layer.out_features)
        count += own
    return count


def _pass_s(network: Network, images: Tensor, size: int, synchronise: Callable[[], None]) -> float:
    weights = list(network.parameters())

    def forward_and_backward() -> None:
        for part in torch.split(images, size):
            torch.autograd.grad(network(part).sum(), weights)

    return _best(forward_and_backward, synchronise)


def _rate(device: torch.device, synchronise: Callable[[], None]) -> float:
    """Multiplications a second of the best of a few large products in float32."""
    rates = []
    for rows, columns, depth in PRODUCTS:
        a, b = torch.rand(rows, depth, device=device), torch.rand(columns, depth, device=device)
        out = torch.empty(rows, columns, device=device)

        def product(a: Tensor = a, b: Tensor = b, out: Tensor = out) -> None:
            torch.matmul(a, b.T, out=out)

        rates.append(rows * columns * depth / _best(product, synchronise))
    return max(rates)


def _best(work: Callable[[], None], synchronise: Callable[[], None]) -> float:
    return min(seconds(work, synchronise) for _ in range(REPEATS))
