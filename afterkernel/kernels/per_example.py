"""Gradients of single samples in any parameters: the fallback for those that no layer call accounts for.

`vmap` over `grad` where the model allows it, else one sample at a time by plain autograd: slow, and right.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.func import functional_call, jacrev, vmap

from afterkernel.kernels.working_copy import as_real, real_numbers
from afterkernel.types import Float, Tensor

BATCH_BYTES = 1 << 27
MOST_AT_ONCE = 64


class PerExampleGradients:
    """Rows of gradients in the named parameters of a model, one a sample and output."""

    COPIES = 5  # room for gradients while they are made, in units of the result: an allowance, not a count

    def __init__(
        self,
        model: nn.Module,
        parameters: Mapping[str, Tensor],
        select: Callable[[Tensor], Float[Tensor, "n k"]],
        outputs: int = 1,
        activation_bytes: int = 1,
    ) -> None:
        self._model, self._select = model, select
        self._parameters = {name: value.detach() for name, value in parameters.items()}
        self._one_by_one = False
        self.size = sum(real_numbers(value) for value in parameters.values())
        element = next(iter(parameters.values())).element_size()
        # Each output has gradients of its own, in the parameters and in the activations.
        self._at_once = max(1, min(MOST_AT_ONCE, BATCH_BYTES // (outputs * (self.size * element + activation_bytes))))
        outputs_at_once = max(1, BATCH_BYTES // (self._at_once * (self.size * element + activation_bytes)))
        chunk = None if outputs_at_once >= outputs else outputs_at_once
        self._vectorised = vmap(jacrev(self._outputs, chunk_size=chunk), in_dims=(None, 0))

    @property
    def method(self) -> str:
        """How the gradients are computed, in words."""
        return "one sample at a time" if self._one_by_one else "vmap"

    def _outputs(self, parameters: dict[str, Tensor], sample: Tensor) -> Float[Tensor, " k"]:
        return self._select(functional_call(self._model, parameters, (sample.unsqueeze(0),)))[0]

    def __call__(self, x: Tensor) -> dict[str, Float[Tensor, "n k p"]]:
        """Gradients in each parameter, flattened."""
        parts = [self._batch(part) for part in torch.split(x, self._at_once)]
        if len(parts) == 1:
            return parts[0]
        return {name: torch.cat([part[name] for part in parts]) for name in self._parameters}

    def _batch(self, x: Tensor) -> dict[str, Tensor]:
        if not self._one_by_one:
            try:
                with warnings.catch_warnings():
                    # vmap says of each function without a batching rule that it loops: known, and no news to a user.
                    warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
                    found = self._vectorised(self._parameters, x)
                return {name: as_real(value).reshape(*value.shape[:2], -1) for name, value in found.items()}
            except RuntimeError:
                # Recurrent layers, branches on data and modules with state have no vmap.
                self._one_by_one = True
        rows = [self._single(sample.unsqueeze(0)) for sample in x]
        return {name: torch.stack([row[name] for row in rows]) for name in self._parameters}

    def _single(self, sample: Tensor) -> dict[str, Float[Tensor, "k p"]]:
        named = dict(self._model.named_parameters())
        parameters = [named[name] for name in self._parameters]
        with torch.enable_grad():
            outputs = self._select(self._model(sample))[0]
            grads = [
                torch.autograd.grad(output, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
                for output in outputs
            ]
        return {name: torch.stack([_flat(row[i]) for row in grads]) for i, name in enumerate(self._parameters)}


def _flat(grad: Tensor) -> Float[Tensor, " p"]:
    return as_real(grad.to_dense() if grad.is_sparse else grad).flatten()
