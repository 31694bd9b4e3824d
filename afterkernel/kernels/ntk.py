"""Kernels of a model in one call: the public functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict, Unpack, overload

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels.calls import batches_of, blamed_on, network_embedding
from afterkernel.kernels.embedding import Embedding
from afterkernel.kernels.features import FeatureEmbedding
from afterkernel.kernels.gram import Grams, cross_grams, paired_products, train_test_grams
from afterkernel.kernels.inputs import check_options, check_types, place_of
from afterkernel.kernels.plan import DEFAULT_BUDGET_BYTES, Plan
from afterkernel.kernels.precision import precision
from afterkernel.kernels.result_place import Out
from afterkernel.kernels.sample_sources import Inputs
from afterkernel.kernels.samples import Batch, Forward
from afterkernel.kernels.tiles import TOTAL
from afterkernel.kernels.trained import Choice
from afterkernel.types import Float, Tensor


class _Options(TypedDict, total=False):
    """Keyword arguments of every function."""

    forward: Forward | None
    dtype: torch.dtype | str
    device: str | torch.device | None
    budget_bytes: int
    store: Path | str | None


class _OfGradients(_Options, total=False):
    out: Out | None
    output: int | str | None
    parameters: Choice | None


class _OfFeatures(_Options, total=False):
    layer: str | None


@dataclass(frozen=True)
class KernelDetails:
    """A kernel, with how exact it is and how it was computed: what `ntk` gives for `details=True`.

    kernel: the Gram matrix; relative_error: the largest difference from the same gradients multiplied in float64 over
    some 16 samples, relative to the largest entry (`Grams`; of output="diagonal" that of the outputs' sum), None for x
    against y; plan: methods, sizes and cost, `plan.describe()` in words; dtype: in which gradients are multiplied, such
    as "float32" or "tf32".
    """

    kernel: Float[Tensor, " ..."]
    relative_error: float | None
    plan: Plan
    dtype: str


@overload
def ntk(
    model: nn.Module, x: Inputs, y: Inputs | None = None, *, details: Literal[True], **options: Unpack[_OfGradients]
) -> KernelDetails: ...
@overload
def ntk(
    model: nn.Module,
    x: Inputs,
    y: Inputs | None = None,
    *,
    details: Literal[False] = False,
    **options: Unpack[_OfGradients],
) -> Tensor: ...
def ntk(  # noqa: PLR0913 (public, all but three by name)
    model: nn.Module,
    x: Inputs,
    y: Inputs | None = None,
    *,
    forward: Forward | None = None,
    output: int | str | None = None,
    parameters: Choice | None = None,
    dtype: torch.dtype | str = torch.float32,
    device: str | torch.device | None = None,
    budget_bytes: int = DEFAULT_BUDGET_BYTES,
    store: Path | str | None = None,
    out: Out | None = None,
    details: bool = False,
) -> Float[Tensor, " ..."] | KernelDetails:
    """The empirical neural tangent kernel of a model: `K_ij = <d f(x_i) / d theta, d f(y_j) / d theta>`.

    For a trained model this is the after kernel (arXiv 2105.10585, section 2). theta are all trainable parameters, f is
    the model's output in evaluation mode.

    Args:
        model: any torch.nn.Module that gives a tensor with the sample as first dimension, or an object or dict with
            such `logits`, as those of transformers; it is not changed.
        x: n samples: a tensor or numpy array (n, ...), a tuple of the model's positional arguments, a dict of its
            keyword arguments, or any pytree of tensors with `forward`. All tensors have the samples as first dimension.
            Also a Dataset or DataLoader, read a chunk at a time (its labels: docs/kernels.md, "Samples and outputs").
        y: m samples like those of x, or None for x against itself, which computes each tile once.
        forward: a function of (model, batch) that gives f, a tensor (n, ...), for models that are called in another
            way, or whose kernel is that of something else: a loss, one logit, the residual of an equation. It has to
            use the model that it is given; `batch` has the structure of x.
        output: of a model with several outputs per sample, the number of one; "trace" for the sum of their kernels,
            `sum_k <d f_k(x_i), d f_k(y_j)>`; "sum" for the kernel of their sum, the pseudo-NTK (arXiv 2206.12543) times
            the number of outputs; "diagonal" for each output's own kernel; "full" for all pairs of outputs.
        parameters: which trainable parameters theta is made of, by default all: names of parameters or modules, or
            patterns such as "*.bias", one or several; or a function of (name, parameter) that is true for those wanted.
        dtype: torch.float32 or torch.float64, of gradients, products and result; or "tf32" or "bf16" for float32
            gradients multiplied in less, or "tf32x3" for float32 gradients multiplied on tensor cores by three products
            of TF32 numbers, which keep their digits (docs/kernels.md, "Outputs, layers, precision").
        device: where to compute and where the result is; the model's own by default.
        budget_bytes: bound on the memory in use at once, the result excluded.
        store: a folder where tiles are kept as they are done, so that a killed computation continues from there.
        out: where the result is written: the path of a new .npy file, which is memory-mapped, or a tensor or array
            (n, m) of the result's type. Not for output="full" or "diagonal".
        details: return a `KernelDetails`, which has the matrix as `kernel`, with its `relative_error` and `plan`.

    Returns:
        The Gram matrix (n, m), in `out` if given; with c outputs for output="diagonal" (n, m, c), for output="full"
        (n, m, c, c), whose entry [i, j, k, l] is `<d f_k(x_i), d f_l(y_j)>`.

    Raises:
        UserError: several outputs per sample and none chosen, an output that is not a tensor, no trainable parameter,
            empty input, an output that depends on other samples of its batch, a budget below two embeddings, a gradient
            that is not finite (with its layer and sample), or a store of another job.
    """
    inputs = batches_of(model, x, y, forward)
    phi = network_embedding("ntk", model, inputs, dtype, device, output=output, parameters=parameters)
    grams = _grams(phi, inputs, dtype, budget_bytes, store, parts=output == "diagonal", out=out)
    K = _arranged(_matrices(grams, inputs), inputs, output)
    return _details(K, grams, dtype) if details else K


def layer_ntks(  # noqa: PLR0913 (public, all but three by name)
    model: nn.Module,
    x: Inputs,
    y: Inputs | None = None,
    *,
    forward: Forward | None = None,
    output: int | str | None = None,
    parameters: Choice | None = None,
    dtype: torch.dtype | str = torch.float32,
    device: str | torch.device | None = None,
    budget_bytes: int = DEFAULT_BUDGET_BYTES,
    store: Path | str | None = None,
) -> dict[str, Float[Tensor, " ..."]]:
    """The neural tangent kernel of every layer, by the layer's name; their sum is `ntk`.

    A layer is a module that has parameters itself. Arguments and errors are those of `ntk`, each matrix as its result.
    """
    inputs = batches_of(model, x, y, forward)
    if output == "diagonal":
        raise UserError('output="diagonal" is not of single layers: give the number of an output, or "trace".')
    phi = network_embedding("ntk", model, inputs, dtype, device, output=output, parameters=parameters)
    found = _matrices(_grams(phi, inputs, dtype, budget_bytes, store, parts=True), inputs)
    return {name: _arranged({TOTAL: K}, inputs, output) for name, K in found.items() if name != TOTAL}


def paired_ntk(  # noqa: PLR0913 (public, all but three by name)
    model: nn.Module,
    x: Inputs,
    y: Inputs,
    *,
    forward: Forward | None = None,
    output: int | str | None = None,
    parameters: Choice | None = None,
    dtype: torch.dtype | str = torch.float32,
    device: str | torch.device | None = None,
    budget_bytes: int = DEFAULT_BUDGET_BYTES,
) -> Float[Tensor, " n"]:
    """The neural tangent kernel of pairs of samples, K(x_i, y_i), in float64: the diagonal of `ntk(model, x, y)`.

    For "trace" and "full" outputs it is summed over the outputs. Arguments and errors are those of `ntk`.
    """
    if output == "diagonal":
        raise UserError('output="diagonal" has no single number for a pair: give the number of an output, or "trace".')
    inputs = batches_of(model, x, y, forward)
    phi = network_embedding("ntk", model, inputs, dtype, device, output=output, parameters=parameters)
    check_options(budget_bytes)
    with blamed_on(inputs):
        return paired_products(phi, inputs["x"], inputs["y"], budget_bytes=budget_bytes)


@overload
def conjugate_kernel(
    model: nn.Module, x: Inputs, y: Inputs | None = None, *, details: Literal[True], **options: Unpack[_OfFeatures]
) -> KernelDetails: ...
@overload
def conjugate_kernel(
    model: nn.Module,
    x: Inputs,
    y: Inputs | None = None,
    *,
    details: Literal[False] = False,
    **options: Unpack[_OfFeatures],
) -> Tensor: ...
def conjugate_kernel(  # noqa: PLR0913 (public, all but three by name)
    model: nn.Module,
    x: Inputs,
    y: Inputs | None = None,
    *,
    forward: Forward | None = None,
    layer: str | None = None,
    dtype: torch.dtype | str = torch.float32,
    device: str | torch.device | None = None,
    budget_bytes: int = DEFAULT_BUDGET_BYTES,
    store: Path | str | None = None,
    details: bool = False,
) -> Float[Tensor, "n m"] | KernelDetails:
    """The conjugate kernel of a model: inner products of the inputs of a layer, in evaluation mode.

    By default it is the last linear layer: of the products with a parameter (torch.nn.Linear and the same by hand) on
    the way to the output, the one whose result no other one depends on. `conjugate_layer` gives its name. Source: arXiv
    2105.10585, section 2.

    Args:
        model: as for `ntk`; its output may be anything that holds tensors, and it needs no trainable parameter.
        x: n samples, as for `ntk`.
        y: m samples, or None for x against itself.
        forward: as for `ntk`.
        layer: the name of the module whose input is used instead, as in `model.named_modules()`: its first tensor
            argument, of its last call if there are several.
        dtype: as for `ntk`.
        device: as for `ntk`.
        budget_bytes: as for `ntk`.
        store: as for `ntk`.
        details: as for `ntk`.

    Returns:
        The Gram matrix (n, m). Where a sample has several rows (positions, windows), its features are all of them.

    Raises:
        UserError: no linear layer, or several that come last with different inputs, and no layer chosen; a layer that
            is not a module or is not called; features of a sample that depend on other samples, or differ from run to
            run; and as for `ntk`.
    """
    inputs = batches_of(model, x, y, forward)
    phi = network_embedding("conjugate", model, inputs, dtype, device, layer=layer)
    grams = _grams(phi, inputs, dtype, budget_bytes, store)
    K = _matrices(grams, inputs)[TOTAL]
    return _details(K, grams, dtype) if details else K


def conjugate_layer(model: nn.Module, x: Inputs, *, forward: Forward | None = None) -> str:
    """The name of the layer whose input `conjugate_kernel(model, x)` uses.

    It is the module's name, or the parameter's where that belongs to the model itself or to an embedding. Errors are
    those of `conjugate_kernel`.
    """
    batch = batches_of(model, x, None, forward)["x"]
    phi = FeatureEmbedding(model, torch.float32, torch.device(place_of(model, batch, None)))
    check_types(phi, {"x": batch})
    phi.plan_layers(batch)
    return str(phi.layer)


def _grams(
    phi: Embedding,
    inputs: Mapping[str, Batch],
    dtype: torch.dtype | str,
    budget_bytes: int,
    store: Path | str | None,
    parts: bool = False,
    out: Out | None = None,
) -> Grams:
    """The Gram matrices of x with y, or with itself, and with `parts` those of the layers or outputs."""
    check_options(budget_bytes, store)
    kind = precision(dtype).name
    with blamed_on(inputs):
        if "y" not in inputs:
            return train_test_grams(
                phi, inputs["x"], budget_bytes=budget_bytes, dtype=kind, per_layer=parts, store=store, out=out
            )
        return cross_grams(
            phi, inputs["x"], inputs["y"], budget_bytes=budget_bytes, dtype=kind, per_layer=parts, store=store, out=out
        )


def _matrices(grams: Grams, inputs: Mapping[str, Batch]) -> dict[str, Float[Tensor, "nk mk"]]:
    """The matrix that was asked for as TOTAL, and those of its parts by name."""
    which = 1 if "y" in inputs else 0
    return {TOTAL: (grams.train, grams.test)[which], **{name: pair[which] for name, pair in grams.layers.items()}}


def _details(K: Tensor, grams: Grams, dtype: torch.dtype | str) -> KernelDetails:
    return KernelDetails(K, grams.relative_error, grams.plan, precision(dtype).name)


def _arranged(
    found: Mapping[str, Float[Tensor, "nk mk"]], inputs: Mapping[str, Batch], output: int | str | None
) -> Float[Tensor, " ..."]:
    """Samples before outputs, where these are kept apart."""
    K = found[TOTAL]
    if output == "diagonal":
        whole = K._base  # the matrices of all outputs after their sum, unless they are in files
        if whole is not None and len(whole) == len(found):
            return whole[1:].permute(1, 2, 0)
        return torch.stack([part for name, part in found.items() if name != TOTAL], dim=-1)
    if output != "full":
        return K
    n, m = len(inputs["x"]), len(inputs.get("y", inputs["x"]))
    return K.view(n, K.shape[0] // n, m, K.shape[1] // m).permute(0, 2, 1, 3)
