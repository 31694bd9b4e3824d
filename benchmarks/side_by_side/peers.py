"""Peers in torch: other ways to the same Gram matrices, each as its authors recommend.

Each takes (network, x, x_test or None, most) and gives [train x train] or [train x train, test x train]; `most` is the
number of images that fit in memory at once. The packages take batches as large as fit, as they recompute everything for
every pair of batches.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch.func import functional_call, grad, jacrev, vmap
from torch.utils.data import DataLoader, TensorDataset

from afterkernel.models import Network
from afterkernel.types import Float, Tensor
from side_by_side import gradient_peers

Way = Callable[[Network, Tensor, Tensor | None, int], list[Tensor]]
CPU_GRADIENTS_AT_ONCE = 64  # more cost memory and gain no speed
GPU_GRADIENTS_AT_ONCE = 1024


def vmap_grad(network: Network, x: Tensor, x_test: Tensor | None, most: int) -> list[Tensor]:
    """All gradients by vmap over grad, written into one matrix, and one product."""
    parameters = {name: value.detach() for name, value in network.named_parameters()}

    def output(parameters: dict[str, Tensor], image: Float[Tensor, "c h w"]) -> Float[Tensor, ""]:
        logits: Tensor = functional_call(network, parameters, (image[None],))
        return logits.squeeze(0)

    def gradients(images: Tensor) -> Float[Tensor, "n p"]:
        phi = images.new_empty(len(images), network.parameter_count)
        at_once = min(most, GPU_GRADIENTS_AT_ONCE if images.is_cuda else CPU_GRADIENTS_AT_ONCE)
        pairs = zip(torch.split(phi, at_once), torch.split(images, at_once), strict=True)
        for out, part in pairs:
            found = vmap(grad(output), (None, 0))(parameters, part)
            torch.cat([value.flatten(1) for value in found.values()], dim=1, out=out)
        return phi

    phi = gradients(x)
    return [phi @ phi.T] if x_test is None else [phi @ phi.T, gradients(x_test) @ phi.T]


def tutorial(network: Network, x: Tensor, x_test: Tensor | None, _most: int) -> list[Tensor]:
    """PyTorch's NTK tutorial: Jacobians by vmap over jacrev, contracted parameter by parameter.

    The tutorial takes the Jacobian of both arguments; here that of x is taken once.
    """
    parameters = {name: value.detach() for name, value in network.named_parameters()}

    def output(parameters: dict[str, Tensor], image: Float[Tensor, "c h w"]) -> Float[Tensor, "1 1"]:
        logits: Tensor = functional_call(network, parameters, (image[None],))
        return logits[:, None]

    def jacobian(images: Tensor) -> list[Tensor]:
        found = vmap(jacrev(output), (None, 0))(parameters, images)
        return [value.flatten(1, 2).flatten(2) for value in found.values()]

    def contract(first: list[Tensor], second: list[Tensor]) -> Tensor:
        parts = [torch.einsum("Naf,Mbf->NMab", j, k) for j, k in zip(first, second, strict=True)]
        return torch.stack(parts).sum(0)[:, :, 0, 0]

    train = jacobian(x)
    return [contract(train, train)] if x_test is None else [contract(train, train), contract(jacobian(x_test), train)]


def nngeometry(network: Network, x: Tensor, x_test: Tensor | None, most: int) -> list[Tensor]:
    """nngeometry's GramMatrix, which knows of x with itself alone: test images go in with the training images."""
    # The package's modules import each other in a ring that closes only when entered from here.
    import_module("nngeometry.metrics")
    package: Any = import_module("nngeometry.gram")
    images = x.clone() if x_test is None else torch.cat([x, x_test])  # it marks its input, so not ours
    loader = DataLoader(TensorDataset(images), batch_size=_even(len(images), most // 2))
    K = package.GramMatrix(network.layers, loader).to_torch()[0, :, 0].detach()
    n = len(x)
    return [K] if x_test is None else [K[:n, :n], K[n:, :n]]


def asdl_direct(network: Network, x: Tensor, x_test: Tensor | None, most: int) -> list[Tensor]:
    """Per-example gradients of a layer at a time, multiplied."""
    return _asdl("empirical_class_wise_direct_ntk", network, x, x_test, most)


def asdl_hadamard(network: Network, x: Tensor, x_test: Tensor | None, most: int) -> list[Tensor]:
    """Inner products of a layer's inputs times those of its output gradients: exact where inputs are vectors."""
    return _asdl("empirical_class_wise_hadamard_ntk", network, x, x_test, most)


def _asdl(name: str, network: Network, x: Tensor, x_test: Tensor | None, most: int) -> list[Tensor]:
    package: Any = import_module("asdl.kernel")

    def loader(images: Tensor) -> DataLoader[tuple[Tensor, ...]]:
        # Given as a loader, images need not divide into equal batches; a pair of batches is held at once.
        return DataLoader(TensorDataset(images), batch_size=_even(len(images), most // 2))

    def gram(*images: Tensor) -> Tensor:
        # It indexes classes along the last dimension, which `network` itself drops.
        K: Tensor = package.batch(getattr(package, name), network.layers, *map(loader, images))
        return K[:, :, 0]

    return [gram(x)] if x_test is None else [gram(x), gram(x_test, x)]


def _even(n: int, most: int) -> int:
    """The size of equal batches of n images, none of more than `most`."""
    batches = -(-n // max(1, most))
    return -(-n // batches)


WAYS: dict[str, Way] = {
    "vmap_grad": vmap_grad,
    "tutorial": tutorial,
    "nngeometry": nngeometry,
    "asdl_direct": asdl_direct,
    "asdl_hadamard": asdl_hadamard,
    "opacus": gradient_peers.opacus,
    "backpack": gradient_peers.backpack,
    "laplace": gradient_peers.laplace,
    "trak": gradient_peers.trak,
    "curvlinops": gradient_peers.curvlinops,
}
