"""Kernels of a model in one call: the public functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from afterkernel.kernels.embedding import Embedding, embedding
from afterkernel.kernels.features import FeatureEmbedding
from afterkernel.kernels.gram import cross_grams, paired_products, train_test_grams
from afterkernel.kernels.inputs import check_arguments, check_options, check_types, place_of
from afterkernel.kernels.plan import DEFAULT_BUDGET_BYTES
from afterkernel.kernels.precision import precision
from afterkernel.kernels.tiles import TOTAL
from afterkernel.types import Float, Tensor


def ntk(
    model: nn.Module,
    x: Tensor,
    y: Tensor | None = None,
    *,
    output: int | str | None = None,
    dtype: torch.dtype | str = torch.float32,
    device: str | torch.device | None = None,
    budget_bytes: int = DEFAULT_BUDGET_BYTES,
    store: Path | str | None = None,
) -> Float[Tensor, " ..."]:
    """The empirical neural tangent kernel of a model: K_ij = <d f(x_i) / d theta, d f(y_j) / d theta>.

    For a trained model this is the after kernel (arXiv 2105.10585, section 2). theta are all trainable parameters, f is
    the model's output in evaluation mode.

    Args:
        model: any torch.nn.Module that gives a tensor with the sample as first dimension; it is not changed.
        x: n inputs (n, ...).
        y: m inputs (m, ...), or None for x against itself, which computes each tile once.
        output: of a model with several outputs per sample, the number of one; "trace" for the sum of their kernels,
            sum_k <d f_k(x_i), d f_k(y_j)>; "sum" for the kernel of their sum; "full" for all pairs of outputs.
        dtype: torch.float32 or torch.float64, of gradients, products and result; or "tf32" or "bf16" for float32
            gradients multiplied in less.
        device: where to compute and where the result is; the model's own by default.
        budget_bytes: bound on the memory in use at once, the result excluded.
        store: a folder where tiles are kept as they are done, so that a killed computation continues from there.

    Returns:
        The Gram matrix (n, m); for output="full" with c outputs (n, m, c, c), whose entry [i, j, k, l] is
        <d f_k(x_i), d f_l(y_j)>.

    Raises:
        UserError: several outputs per sample and none chosen, an output that is not a tensor, no trainable parameter,
            empty input, an output that depends on other samples of its batch, a budget below two embeddings, a gradient
            that is not finite (with its layer and sample), or a store of another job.
    """
    phi = _embedding("ntk", model, x, y, dtype, device, output=output)
    return _arranged(_grams(phi, x, y, dtype, budget_bytes, store)[TOTAL], x, y, output)


def layer_ntks(
    model: nn.Module,
    x: Tensor,
    y: Tensor | None = None,
    *,
    output: int | str | None = None,
    dtype: torch.dtype | str = torch.float32,
    device: str | torch.device | None = None,
    budget_bytes: int = DEFAULT_BUDGET_BYTES,
    store: Path | str | None = None,
) -> dict[str, Float[Tensor, " ..."]]:
    """The neural tangent kernel of every layer, by the layer's name; their sum is `ntk`.

    A layer is a module that has parameters itself. Arguments and errors are those of `ntk`, each matrix as its result.
    """
    phi = _embedding("ntk", model, x, y, dtype, device, output=output)
    found = _grams(phi, x, y, dtype, budget_bytes, store, per_layer=True)
    return {name: _arranged(K, x, y, output) for name, K in found.items() if name != TOTAL}


def paired_ntk(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    output: int | str | None = None,
    dtype: torch.dtype | str = torch.float32,
    device: str | torch.device | None = None,
    budget_bytes: int = DEFAULT_BUDGET_BYTES,
) -> Float[Tensor, " n"]:
    """The neural tangent kernel of pairs of samples, K(x_i, y_i), in float64: the diagonal of `ntk(model, x, y)`.

    For "trace" and "full" outputs it is summed over the outputs. Arguments and errors are those of `ntk`.
    """
    phi = _embedding("ntk", model, x, y, dtype, device, output=output)
    check_options(budget_bytes)
    return paired_products(phi, x, y, budget_bytes=budget_bytes)


def conjugate_kernel(
    model: nn.Module,
    x: Tensor,
    y: Tensor | None = None,
    *,
    layer: str | None = None,
    dtype: torch.dtype | str = torch.float32,
    device: str | torch.device | None = None,
    budget_bytes: int = DEFAULT_BUDGET_BYTES,
    store: Path | str | None = None,
) -> Float[Tensor, "n m"]:
    """The conjugate kernel of a model: inner products of the inputs of a layer, in evaluation mode.

    By default it is the last linear layer: of the products with a parameter (torch.nn.Linear and the same by hand) on
    the way to the output, the one whose result no other one depends on. `conjugate_layer` gives its name. Source: arXiv
    2105.10585, section 2.

    Args:
        model: as for `ntk`; its output may be anything that holds tensors, and it needs no trainable parameter.
        x: n inputs (n, ...).
        y: m inputs (m, ...), or None for x against itself.
        layer: the name of the module whose input is used instead, as in `model.named_modules()`: its first tensor
            argument, of its last call if there are several.
        dtype: as for `ntk`.
        device: as for `ntk`.
        budget_bytes: as for `ntk`.
        store: as for `ntk`.

    Returns:
        The Gram matrix (n, m). Where a sample has several rows (positions, windows), its features are all of them.

    Raises:
        UserError: no linear layer, or several that come last with different inputs, and no layer chosen; a layer that
            is not a module or is not called; features of a sample that depend on other samples, or differ from run to
            run; and as for `ntk`.
    """
    phi = _embedding("conjugate", model, x, y, dtype, device, layer=layer)
    return _grams(phi, x, y, dtype, budget_bytes, store)[TOTAL]


def conjugate_layer(model: nn.Module, x: Tensor) -> str:
    """The name of the layer whose input `conjugate_kernel(model, x)` uses.

    It is the module's name, or the parameter's where that belongs to the model itself or to an embedding. Errors are
    those of `conjugate_kernel`.
    """
    check_arguments(model, {"x": x})
    phi = FeatureEmbedding(model, torch.float32, torch.device(place_of(model, x, None)))
    check_types(phi, {"x": x})
    phi.plan_layers(x)
    return str(phi.layer)


def _embedding(
    kernel: str,
    model: nn.Module,
    x: Tensor,
    y: Tensor | None,
    dtype: torch.dtype | str,
    device: str | torch.device | None,
    **chosen: Any,
) -> Embedding:
    """The model's embedding, the arguments of a public function checked; `chosen` are `output` or `layer`."""
    inputs = {"x": x} if y is None else {"x": x, "y": y}
    check_arguments(model, inputs)
    phi = embedding(model, kernel, dtype=precision(dtype).dtype, device=place_of(model, x, device), **chosen)
    check_types(phi, inputs)
    return phi


def _grams(
    phi: Embedding,
    x: Tensor,
    y: Tensor | None,
    dtype: torch.dtype | str,
    budget_bytes: int,
    store: Path | str | None,
    per_layer: bool = False,
) -> dict[str, Float[Tensor, "nk mk"]]:
    """The Gram matrix of x with y, or with itself, as TOTAL, and those of the layers by name."""
    check_options(budget_bytes, store)
    kind = precision(dtype).name
    if y is None:
        grams = train_test_grams(phi, x, budget_bytes=budget_bytes, dtype=kind, per_layer=per_layer, store=store)
        return {TOTAL: grams.train, **{name: train for name, (train, _) in grams.layers.items()}}
    grams = cross_grams(phi, x, y, budget_bytes=budget_bytes, dtype=kind, per_layer=per_layer, store=store)
    return {TOTAL: grams.test, **{name: test for name, (_, test) in grams.layers.items()}}


def _arranged(
    K: Float[Tensor, "nk mk"], x: Tensor, y: Tensor | None, output: int | str | None
) -> Float[Tensor, " ..."]:
    """With all pairs of outputs, samples before outputs."""
    if output != "full":
        return K
    n, m = len(x), len(x if y is None else y)
    return K.view(n, K.shape[0] // n, m, K.shape[1] // m).permute(0, 2, 1, 3)
