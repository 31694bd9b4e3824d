"""Error of the Gram matrices against per-example autograd in float64, on networks of 1e5 parameters.

    python benchmarks/accuracy.py [--root DIR_OF_MNIST] [--samples 100]

Prints, for each network, kernel and data type, the largest error of an entry relative to the largest entry. A ReLU
whose input is within rounding of zero may switch in float32, and the gradient of that image jumps, in plain autograd
as here: such images are counted, and the float32 error is given with and without them.
"""

from __future__ import annotations

import argparse
import copy

import torch
from torch import nn

import afterkernel as ak
from afterkernel.data.sources.mnist import MNIST
from afterkernel.models import Network
from afterkernel.types import Bool, Float, Tensor


def oracle(network: Network, x: Tensor, dtype: torch.dtype) -> dict[str, Float[Tensor, "n p"]]:
    """Both embeddings, one image and one backward pass at a time, computed in `dtype` and given in float64."""
    network = copy.deepcopy(network).to(dtype)
    gradients, features = [], []
    hidden = nn.Sequential(*list(network.layers.children())[:-1])
    for image in x.to(dtype):
        parts = torch.autograd.grad(network(image[None]).squeeze(), list(network.parameters()))
        gradients.append(torch.cat([part.flatten() for part in parts]))
        features.append(hidden(image[None]).flatten().detach())
    return {"ntk": torch.stack(gradients).double(), "conjugate": torch.stack(features).double()}


def switched(single: Float[Tensor, "n p"], double: Float[Tensor, "n p"]) -> Bool[Tensor, " n"]:
    """Images on which plain float32 autograd departs from float64 by far more than rounding."""
    departure: Tensor = (single - double).norm(dim=1)
    bound: Tensor = 1e-5 * double.norm(dim=1)
    return departure > bound


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder that holds MNIST/raw; random images without it")
    parser.add_argument("--samples", type=int, default=100)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    x = torch.rand(arguments.samples, 1, 28, 28)
    if arguments.root:
        x = MNIST(root=arguments.root, download=False, max_train=arguments.samples).load().x_train
    print(f"{len(x)} images {'of MNIST 3/8' if arguments.root else 'of noise'}\n")
    print("| net | kernel | float64 | float32 | images switched | float32 without them |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, make in (("vgg", ak.models.vgg), ("mlp", ak.models.mlp)):
        network = make((1, 28, 28))
        single, double = (oracle(network, x, dtype) for dtype in (torch.float32, torch.float64))
        for kernel, compute in (("ntk", ak.ntk), ("conjugate", ak.conjugate_kernel)):
            expected = double[kernel] @ double[kernel].T
            error64, error32 = (
                (compute(network, x, dtype=dtype) - expected).abs() / expected.abs().max()
                for dtype in (torch.float64, torch.float32)
            )
            kinks = switched(single[kernel], double[kernel])
            smooth = error32[~kinks][:, ~kinks].max()
            print(
                f"| {name} | {kernel} | {error64.max():.1e} | {error32.max():.1e} "
                f"| {int(kinks.sum())} of {len(x)} | {smooth:.1e} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
