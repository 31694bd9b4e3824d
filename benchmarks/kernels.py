"""Time of the NTK's Gram matrix: ours, the two usual ways of torch.func, and this machine's own limit, in one run.

    python benchmarks/kernels.py [--samples 500 1000] [--output FILE]

Ratios are taken within the run, so that a noisy machine spoils them less than times. The limit is the time of one
forward and backward pass over the images plus that of the products of the Gram matrix at the measured matmul rate.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.func import functional_call, grad, jacrev, vmap

import afterkernel as ak
from afterkernel.models import Network
from afterkernel.types import Float, Tensor

MNIST_SHAPE = (1, 28, 28)


def tutorial(network: Network, x: Tensor) -> Float[Tensor, "n n"]:
    """The contraction of PyTorch's NTK tutorial: Jacobians by vmap over jacrev, contracted layer by layer."""
    parameters = {name: value.detach() for name, value in network.named_parameters()}

    def output(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        logits: Tensor = functional_call(network, parameters, (image[None],))
        return logits

    jacobian = vmap(jacrev(output), (None, 0))(parameters, x)
    return torch.stack([torch.einsum("nop,mop->nm", j.flatten(2), j.flatten(2)) for j in jacobian.values()]).sum(0)


def whole_matrix(network: Network, x: Tensor) -> Float[Tensor, "n n"]:
    """All gradients at once by vmap over grad, and one product."""
    parameters = {name: value.detach() for name, value in network.named_parameters()}

    def output(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        logits: Tensor = functional_call(network, parameters, (image[None],))
        return logits.squeeze(0)

    gradients = vmap(grad(output), (None, 0))(parameters, x)
    phi = torch.cat([g.flatten(1) for g in gradients.values()], dim=1)
    return phi @ phi.T


def limit_s(network: Network, x: Tensor) -> float:
    """One forward and backward pass, and n^2 p / 2 multiply-adds at the rate of a large matmul."""
    weights = list(network.parameters())

    def forward_and_backward() -> None:
        for part in torch.split(x, 64):  # faster on a CPU than all images at once
            torch.autograd.grad(network(part).sum(), weights)

    passes = seconds(forward_and_backward)
    side, depth = 2000, 4000
    a = torch.rand(side, depth)
    product = seconds(lambda: a @ a.T)
    return passes + product * (len(x) ** 2 / 2 * network.parameter_count) / (side**2 * depth)


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The shortest of a few times of the work, in seconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    """Run, print a Markdown table, and write it if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[500, 1000])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    lines = [
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, MNIST-shaped random images, 1e5 parameters",
        "",
        "| net | n | ours, s | vmap(grad) + matmul | torch.func tutorial | limit | ours / limit |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, make in (("vgg", ak.models.vgg), ("mlp", ak.models.mlp)):
        for n in arguments.samples:
            torch.manual_seed(0)
            network, x = make(MNIST_SHAPE), torch.rand(n, *MNIST_SHAPE)
            ways = (ak.ntk, whole_matrix, tutorial)
            ours, whole, taught = (seconds(partial(way, network, x)) for way in ways)
            least = limit_s(network, x)
            lines.append(
                f"| {name} | {n} | {ours:.2f} | {whole:.2f} | {taught:.2f} | {least:.2f} | {ours / least:.1f} |"
            )
            print(lines[-1], flush=True)
    text = "\n".join(lines)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
