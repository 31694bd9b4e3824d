"""Peers that give per-sample gradients or products with them; their Gram matrix is one matrix product.

Opacus, BackPACK, laplace-torch and TRAK write all gradients out, a batch at a time, as `vmap_grad` does. curvlinops
gives the operator J and its transpose: J @ (J.T @ I), a block of columns at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from afterkernel.models import Network
from afterkernel.types import Float, Tensor

Gradients = Callable[[Tensor], Tensor]  # of a batch of images, (b, p)
# More at once cost memory and gain no speed on a CPU.
AT_ONCE = {"cpu": 64, "cuda": 1024}
OUTPUTS_AT_ONCE = 8
COLUMNS = 64  # of J.T @ I: (p, columns) is held, and every layer's activations once for each column


def opacus(network: Network, x: Tensor, x_test: Tensor | None, most: int) -> list[Tensor]:
    """`grad_sample` of GradSampleModule."""
    package: Any = import_module("opacus.grad_sample")
    # it records in training mode alone; these networks have no dropout or batch normalisation
    wrapped = package.GradSampleModule(copy.deepcopy(network.layers).train(), loss_reduction="sum")

    def gradients(images: Tensor) -> Tensor:
        wrapped.zero_grad(set_to_none=True)
        wrapped(images).sum().backward()
        return _rows(parameter.grad_sample for parameter in wrapped.parameters())

    return _gram(gradients, network, x, x_test, most)


def backpack(network: Network, x: Tensor, x_test: Tensor | None, most: int) -> list[Tensor]:
    """`grad_batch` of the extension BatchGrad."""
    package: Any = import_module("backpack")
    extensions: Any = import_module("backpack.extensions")
    extended = package.extend(copy.deepcopy(network.layers))

    def gradients(images: Tensor) -> Tensor:
        extended.zero_grad(set_to_none=True)
        with package.backpack(extensions.BatchGrad()):
            extended(images).sum().backward()
        return _rows(parameter.grad_batch for parameter in extended.parameters())

    return _gram(gradients, network, x, x_test, most)


def laplace(network: Network, x: Tensor, x_test: Tensor | None, most: int) -> list[Tensor]:
    """`jacobians` of laplace-torch's default backend, which its kernels of a functional Laplace approximation take."""
    package: Any = import_module("laplace.curvature.curvlinops")
    model = copy.deepcopy(network.layers)
    model.output_size = 1  # type: ignore[assignment]  # as its Laplace sets it
    backend = package.CurvlinopsGGN(model, "regression")
    # it differentiates every output of a batch through the whole batch
    return _gram(lambda images: backend.jacobians(images)[0][:, 0], network, x, x_test, min(most, OUTPUTS_AT_ONCE))


def trak(network: Network, x: Tensor, x_test: Tensor | None, most: int) -> list[Tensor]:
    """TRAK's per-sample gradients of the logit, without its projection."""
    package: Any = import_module("trak.gradient_computers")
    base: Any = import_module("trak.modelout_functions").AbstractModelOutput

    class Logit(base):
        def __init__(self) -> None:
            pass

        def get_output(self, model: nn.Module, weights: Any, buffers: Any, image: Tensor) -> Tensor:
            logits: Tensor = functional_call(model, (weights, buffers), (image[None],))
            return logits.squeeze()

        def get_out_to_loss_grad(self, *_: Any) -> Tensor:
            raise AssertionError("TRAK calls this only to score losses, which is not done here")

    count, model = network.parameter_count, network.layers
    computer = package.FunctionalGradientComputer(model, Logit(), count, x.dtype, x.device)

    def gradients(images: Tensor) -> Tensor:
        with torch.no_grad():
            return _rows(computer.compute_per_sample_grad([images]).values())

    return _gram(gradients, network, x, x_test, most)


def curvlinops(network: Network, x: Tensor, x_test: Tensor | None, most: int) -> list[Tensor]:
    """J @ (J.T @ I), `COLUMNS` columns of I at a time; batches and columns are recomputed for each other."""
    package: Any = import_module("curvlinops")
    parameters = [parameter for parameter in network.layers.parameters() if parameter.requires_grad]

    def operator(images: Tensor) -> Any:
        size = max(1, min(len(images), most // COLUMNS, AT_ONCE[images.device.type]))
        # of the targets only their number counts
        data = [(part, part.new_zeros(len(part), 1)) for part in torch.split(images, size)]
        return package.JacobianLinearOperator(network.layers, parameters, data, check_deterministic=False)

    def gram(left: Any, right: Any, n: int) -> Tensor:
        columns = torch.split(torch.eye(n, dtype=x.dtype, device=x.device), COLUMNS, dim=1)
        return torch.cat([(left @ (right.adjoint() @ part)).detach() for part in columns], 1)

    train = operator(x)
    found = [gram(train, train, len(x))]
    return found if x_test is None else [*found, gram(operator(x_test), train, len(x))]


def _rows(parts: Any) -> Float[Tensor, "b p"]:
    return torch.cat([part.detach().flatten(1) for part in parts], 1)


def _gram(gradients: Gradients, network: Network, x: Tensor, x_test: Tensor | None, most: int) -> list[Tensor]:
    at_once = max(1, min(most, AT_ONCE[x.device.type]))

    def written(images: Tensor) -> Float[Tensor, "n p"]:
        phi = images.new_empty(len(images), network.parameter_count)
        for out, part in zip(torch.split(phi, at_once), torch.split(images, at_once), strict=True):
            out.copy_(gradients(part))
        return phi

    phi = written(x)
    return [phi @ phi.T] if x_test is None else [phi @ phi.T, written(x_test) @ phi.T]
