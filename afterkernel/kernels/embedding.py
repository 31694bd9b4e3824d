"""Embeddings phi: what a kernel is the inner product of.

NTK / after kernel: phi(x) = d f(x) / d theta over all trainable parameters, f the scalar output in evaluation mode
(arXiv 2105.10585, section 2). Conjugate kernel: phi(x) = the input of the last linear layer.
"""

from __future__ import annotations

import copy
from typing import Protocol, cast, runtime_checkable

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from afterkernel.errors import UserError
from afterkernel.types import Float, Tensor

KERNELS = ("ntk", "conjugate")


@runtime_checkable
class Embedding(Protocol):
    """A map from a batch of inputs (n, ...) to a matrix of embeddings (n, size)."""

    size: int
    dtype: torch.dtype
    device: torch.device

    def __call__(self, x: Tensor) -> Float[Tensor, "n p"]:
        """Rows phi(x), in `dtype` on `device`."""
        ...


def embedding(
    model: nn.Module, kernel: str = "ntk", *, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> Embedding:
    """The embedding of `kernel` ("ntk" or "conjugate") of a model, computed in `dtype` on `device`.

    The model itself is left as it is: a copy is moved, cast and put in evaluation mode.
    Raises UserError for an unknown kernel, a model without trainable parameters, or one without a linear layer.
    """
    if kernel == "ntk":
        return GradientEmbedding(model, dtype, torch.device(device))
    if kernel == "conjugate":
        return LastLayerEmbedding(model, dtype, torch.device(device))
    raise UserError(f"kernel={kernel!r} is not known: choose one of {', '.join(KERNELS)}.")


class _FrozenModel:
    """A private copy of the model, in evaluation mode, in the data type and on the device of the embedding."""

    def __init__(self, model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self.model = copy.deepcopy(model).to(device=device, dtype=dtype).eval()

    def _place(self, x: Tensor) -> Tensor:
        return x.to(self.device, self.dtype if x.is_floating_point() else x.dtype)


class GradientEmbedding(_FrozenModel):
    """phi(x) = gradient of the scalar output in all trainable parameters, by `vmap` over `grad`."""

    # Per-example convolution gradients unfold their inputs: more images at once cost memory and gain no speed.
    images_at_once = 64

    def __init__(self, model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(model, dtype, device)
        named = dict(self.model.named_parameters())
        self._trained = {name: value.detach() for name, value in named.items() if value.requires_grad}
        self._fixed = {name: value.detach() for name, value in named.items() if not value.requires_grad}
        self._fixed |= dict(self.model.named_buffers())
        self.size = sum(value.numel() for value in self._trained.values())
        if self.size == 0:
            raise UserError("the model has no trainable parameter, so it has no NTK; set requires_grad on some.")
        self._gradients = vmap(grad(self._output), in_dims=(None, 0))

    def _output(self, parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        output = functional_call(self.model, {**parameters, **self._fixed}, (image.unsqueeze(0),))
        if output.numel() != 1:
            raise UserError(
                f"the model gives {output.numel()} outputs a sample, of shape {tuple(output.shape[1:])}; "
                "the kernel here is that of one output: select one in the model's forward."
            )
        return cast(Tensor, output.reshape(()))

    def __call__(self, x: Tensor) -> Float[Tensor, "n p"]:
        """Gradients (n, p), parameters in the order of `model.named_parameters()`."""
        rows = torch.empty(len(x), self.size, dtype=self.dtype, device=self.device)
        for start in range(0, len(x), self.images_at_once):
            images = self._place(x[start : start + self.images_at_once])
            gradients = self._gradients(self._trained, images)
            out = rows[start : start + len(images)]
            torch.cat([gradients[name].reshape(len(images), -1) for name in self._trained], dim=1, out=out)
        return rows


class LastLayerEmbedding(_FrozenModel):
    """phi(x) = input of the linear layer that is called last in the forward pass, flattened."""

    images_at_once = 256

    def __init__(self, model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(model, dtype, device)
        self._inputs: list[Tensor] = []
        linear = [module for module in self.model.modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise UserError("the model has no torch.nn.Linear layer, so it has no conjugate kernel.")
        for module in linear:
            module.register_forward_pre_hook(lambda _, args: self._inputs.append(args[0]))
        # The widest guess until the first batch shows which layer comes last.
        self.size = max(module.in_features for module in linear)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Float[Tensor, "n p"]:
        """Last hidden features (n, p)."""
        parts = [
            self._features(x[start : start + self.images_at_once]) for start in range(0, len(x), self.images_at_once)
        ]
        features = torch.cat(parts)
        self.size = features.shape[1]
        return features

    def _features(self, x: Tensor) -> Tensor:
        self._inputs.clear()
        self.model(self._place(x))
        if not self._inputs:
            raise UserError("no torch.nn.Linear layer was called in the forward pass, so there is no conjugate kernel.")
        features = self._inputs[-1].flatten(1)
        self._inputs.clear()
        return features
