"""Embeddings phi: what a kernel is the inner product of.

NTK / after kernel: phi(x) = d f(x) / d theta over all trainable parameters, f the output in evaluation mode
(arXiv 2105.10585, section 2). Conjugate kernel: phi(x) = the input of the last linear layer.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels.collect import GradientEmbedding
from afterkernel.kernels.independence import IndependenceChecked
from afterkernel.kernels.output import Output
from afterkernel.kernels.plan import Cost, LayerPlan
from afterkernel.kernels.precision import Precision, exact_products, precision
from afterkernel.kernels.protocols import BlockSource, Embedding
from afterkernel.kernels.terms import Block, Gradients
from afterkernel.types import Float, Tensor

KERNELS = ("ntk", "conjugate")

__all__ = ["KERNELS", "BlockSource", "Embedding", "LastLayerEmbedding", "embedding"]


def embedding(
    model: nn.Module,
    kernel: str = "ntk",
    *,
    dtype: torch.dtype | str = torch.float32,
    device: str | torch.device = "cpu",
    output: int | str | None = None,
) -> Embedding:
    """The embedding of `kernel` ("ntk" or "conjugate") of a model, computed in `dtype` on `device`.

    `output` says of which output the gradient is (see `ntk`). The model itself is left as it is: a copy is moved, cast
    and put in evaluation mode. Raises UserError for an unknown kernel, a model without trainable parameters, or one
    without a linear layer.
    """
    kind: Precision = precision(dtype)

    def make(dtype: torch.dtype) -> Embedding:
        if kernel == "ntk":
            return GradientEmbedding(model, dtype, torch.device(device), Output(output))
        if kernel == "conjugate":
            return LastLayerEmbedding(model, dtype, torch.device(device))
        raise UserError(f"kernel={kernel!r} is not known: choose one of {', '.join(KERNELS)}.")

    return IndependenceChecked(make(kind.dtype), lambda: make(torch.float64))


class LastLayerEmbedding:
    """phi(x) = input of the linear layer that is called last in the forward pass, flattened."""

    samples_at_once = 256
    outputs = 1
    work_bytes = 0
    identity: Mapping[str, object] = {"kernel": "conjugate"}

    def __init__(self, model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self.model = copy.deepcopy(model).to(device=device, dtype=dtype).eval()
        self._inputs: list[Tensor] = []
        linear = [module for module in self.model.modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise UserError("the model has no torch.nn.Linear layer, so it has no conjugate kernel.")
        for module in linear:
            module.register_forward_pre_hook(lambda _, args: self._inputs.append(args[0]))

    def plan_layers(self, x: Tensor, *, paired: bool = False) -> Sequence[LayerPlan]:
        """One layer: the features."""
        size = self(x[:1]).shape[1]
        return [LayerPlan("features", Cost("gradients", size, size, size, size), "the input of the last linear layer")]

    def block(self, x: Tensor, out: Block | None = None) -> Block:
        """The features as a block of one layer."""
        block = Block({"features": (Gradients(self._features(x).unsqueeze(1)),)})
        if out is None:
            return block
        out.put(0, block)
        return out

    def __call__(self, x: Tensor) -> Float[Tensor, "n p"]:
        """Last hidden features (n, p)."""
        with exact_products():
            return self._features(x)

    @torch.no_grad()
    def _features(self, x: Tensor) -> Float[Tensor, "n p"]:
        return torch.cat([self._batch(part) for part in torch.split(x, self.samples_at_once)])

    def _batch(self, x: Tensor) -> Tensor:
        self._inputs.clear()
        self.model(x.to(self.device, self.dtype if x.is_floating_point() else x.dtype))
        if not self._inputs:
            raise UserError("no torch.nn.Linear layer was called in the forward pass, so there is no conjugate kernel.")
        features = self._inputs[-1].flatten(1)
        self._inputs.clear()
        return features
