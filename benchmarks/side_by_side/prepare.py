"""Prepare a case: python -m side_by_side.prepare prepare FOLDER, where FOLDER holds case.json.

Leaves images, weights and our Gram matrices of a few images in case.npz, so that all methods get the same, and those
without torch too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import afterkernel as ak
from afterkernel.data.sources.mnist import MNIST
from afterkernel.models import Network
from afterkernel.types import Float, Tensor
from side_by_side.cases import CHECKED_IMAGES, Case, Facts
from side_by_side.measure import Outcome
from side_by_side.ours import ours

# What neural-tangents' side calls the layers; any other layer is an error.
LAYERS: dict[type[nn.Module], str] = {
    nn.Conv2d: "convolution",
    nn.ReLU: "relu",
    nn.MaxPool2d: "pool",
    nn.Flatten: "flatten",
    nn.Linear: "linear",
}


def network_of(case: Case) -> Network:
    """The network of a case, the same in every process."""
    torch.manual_seed(0)
    make = {"vgg": ak.models.vgg, "mlp": ak.models.mlp}[case.net]
    shape = (1, case.image_side, case.image_side)
    return make(shape, budget=case.budget, num_layers=case.num_layers).eval()


def images_of(case: Case) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "m c h w"]]:
    """Training and test images of a case: MNIST 3/8, resized where the side is not 28, or noise without a root."""
    if case.root is None:
        torch.manual_seed(1)
        x = torch.rand(case.n + case.n_test, 1, case.image_side, case.image_side)
        return x[: case.n], x[case.n :]
    problem = MNIST(root=case.root, download=False, max_train=case.n, max_test=max(case.n_test, 2)).load()
    x, x_test = problem.x_train, problem.x_test[: case.n_test]
    if len(x) < case.n:
        raise SystemExit(f"n={case.n} is too many: MNIST 3/8 has {len(x)} training images")
    if case.image_side == x.shape[-1]:
        return x, x_test
    size = (case.image_side, case.image_side)
    return F.interpolate(x, size, mode="bilinear"), x_test.new_empty(0, 1, *size)


def bytes_an_image(network: Network, image: Float[Tensor, "one c h w"]) -> int:
    """About what a method holds for one image: activations and their gradients, one layer unfolded, two gradients."""
    activations, unfolded = [], [0]

    def seen(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        activations.append(output.numel())
        if isinstance(layer, nn.Conv2d):
            unfolded.append(inputs[0].numel() * layer.kernel_size[0] * layer.kernel_size[1])

    handles = [layer.register_forward_hook(seen) for layer in network.layers.children()]
    network(image)
    for handle in handles:
        handle.remove()
    return 4 * (3 * sum(activations) + max(unfolded) + 2 * network.parameter_count)


def main() -> None:
    """Prepare the case of the folder on the command line."""
    task, folder = sys.argv[1], Path(sys.argv[2])
    case = Case.read(folder)
    torch.set_num_threads(case.threads)
    network, (x, x_test) = network_of(case), images_of(case)
    few, few_test = x[:CHECKED_IMAGES], x_test[:CHECKED_IMAGES] if case.n_test else None
    with torch.no_grad():
        Facts(network.parameter_count, bytes_an_image(network, x[:1])).write(folder)
    arrays = {f"parameter{i}": value.detach().numpy() for i, value in enumerate(network.parameters())}
    arrays |= {f"expected{i}": K.numpy() for i, K in enumerate(ours(network, few, few_test))}
    layers = np.array([LAYERS[type(layer)] for layer in network.layers.children()])
    np.savez(folder / "case.npz", allow_pickle=True, x=x.numpy(), x_test=x_test.numpy(), layers=layers, **arrays)
    Outcome().write(folder, task)


if __name__ == "__main__":
    main()
