"""Gradients of single samples in any parameters: the fallback for those that no layer call accounts for.

`vmap` over `jacrev` if the model allows it, else one sample at a time by plain autograd, which is slow.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.func import functional_call, jacrev, vmap

from afterkernel.kernels.numeric import as_real, dense, real_numbers
from afterkernel.kernels.samples import Batch, as_batch
from afterkernel.types import Float, Tensor

# Work space: the second is taken even of a smaller budget, as calls for single gradients are very slow.
MOST_BYTES, LEAST_BYTES = 1 << 27, 1 << 22
MOST_SAMPLES = 64


class PerExampleGradients:
    """Gradients in the named parameters of a model for each sample and output, made in `limit` bytes of work space.

    A gradient in the making takes its own size twice (with a copy that the transforms make) and the `activation_bytes`
    of a sample; at least one sample and output is computed at a time, whatever the limit.
    """

    def __init__(
        self,
        model: nn.Module,
        parameters: Mapping[str, Tensor],
        select: Callable[[Tensor], Float[Tensor, "n k"]],
        activation_bytes: int = 1,
    ) -> None:
        self._model, self._select = model, select
        self._parameters = {name: value.detach() for name, value in parameters.items()}
        self._one_by_one = False
        self._gradient_bytes = 2 * sum(v.numel() * v.element_size() for v in parameters.values()) + activation_bytes
        self.sizes = {name: real_numbers(value) for name, value in parameters.items()}
        self.limit = MOST_BYTES

    @property
    def method(self) -> str:
        """How the gradients are computed, in words."""
        return "one sample at a time" if self._one_by_one else "vmap"

    def __call__(self, x: Batch, out: Mapping[str, Float[Tensor, "n k p"]], columns: Tensor) -> None:
        """Write the gradients of the outputs `columns` (k,) in each parameter, flattened, to `out`."""
        gradients = max(1, self.limit // self._gradient_bytes)
        samples = max(1, min(MOST_SAMPLES, gradients // len(columns)))
        for start in range(0, len(x), samples):
            part = slice(start, min(start + samples, len(x)))
            rows = {name: value[part] for name, value in out.items()}
            if not self._one_by_one:
                try:
                    self._vectorised(x[part], rows, columns, max(1, gradients // samples))
                    continue
                except RuntimeError:
                    # Recurrent layers, branches on data and modules with state have no vmap.
                    self._one_by_one = True
            for i in range(len(x[part])):
                self._single(x[part][i : i + 1], {name: value[i] for name, value in rows.items()}, columns)

    def _vectorised(self, x: Batch, out: Mapping[str, Tensor], columns: Tensor, outputs_at_once: int) -> None:
        """Write the gradients of the outputs `columns` to `out` by vmap, a few outputs at a time."""
        # Detached, else autograd keeps a graph in them. (Under `no_grad` torch takes recurrent layers without a vmap.)
        others = {name: value.detach() for name, value in self._model.named_parameters() if name not in out}
        for start in range(0, len(columns), outputs_at_once):
            part = slice(start, start + outputs_at_once)

            def chosen(parameters: dict[str, Tensor], sample: Batch, part: slice = part) -> Float[Tensor, " k"]:
                every = {**others, **parameters}
                return self._select(functional_call(self._model, every, (as_batch(sample),)))[0, columns[part]]

            with warnings.catch_warnings():
                # vmap warns that functions without a batching rule are slow, which is of no use to the user.
                warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
                found = vmap(jacrev(chosen), in_dims=(None, 0))(self._parameters, x)
            for name, value in found.items():
                out[name][:, part] = as_real(value).reshape(*value.shape[:2], -1)
            del found

    def _single(self, sample: Batch, out: Mapping[str, Float[Tensor, "k p"]], columns: Tensor) -> None:
        named = dict(self._model.named_parameters())
        parameters = [named[name] for name in self._parameters]
        with torch.enable_grad():
            outputs = self._select(self._model(sample))[0]
            for j, column in enumerate(columns.tolist()):
                grads = torch.autograd.grad(
                    outputs[column], parameters, retain_graph=True, allow_unused=True, materialize_grads=True
                )
                for name, grad in zip(self._parameters, grads, strict=True):
                    out[name][j] = as_real(dense(grad)).flatten()
