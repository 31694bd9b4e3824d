"""Checks on a few samples, before long work, that the collected gradients are those of autograd."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from afterkernel.errors import PrecisionWarning, UserError
from afterkernel.kernels.capture import layer_of
from afterkernel.kernels.numeric import as_real, coarsest_dtype, computed_dtype, dense
from afterkernel.kernels.output import Output
from afterkernel.kernels.samples import Batch
from afterkernel.kernels.terms import Block, Term
from afterkernel.types import Float, Tensor

# Relative differences beyond rounding, in an output and in the squared length of a gradient.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
# A layer's gradient that is smaller than this share of the whole is compared with this share of the whole.
SMALL_LAYER = 0.1
FLOOR = 1e-6
# Largest difference, relative to their length, of gradients that are computed in two memory formats.
SAME = 1e-3
COARSE_TOLERANCE = 5e-2  # of outputs that a network itself gives in half precision


@torch.no_grad()
def check_independence(model: nn.Module, x: Batch, outputs: Float[Tensor, "n k"], which: Output) -> None:
    """Raise UserError where the output of a sample alone is not that in its batch: no kernel of samples exists then."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the user does not run single samples, so their warnings are of no use
            alone = which.select(model(x[:1]), 1)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"the model can't be run on a sample alone, so its output depends on the batch: {reason}"
        ) from error
    difference = (alone[0] - outputs[0]).abs().max()
    if bool(torch.isfinite(outputs).all()) and not difference <= _tolerance(outputs) * outputs.abs().max():
        raise UserError(
            "the model's output for a sample alone differs from that in a batch "
            f"({alone[0, 0].item():g} and {outputs[0, 0].item():g}): it is random even in evaluation mode, keeps a "
            "state from one call to the next, or samples depend on each other; make the forward pass deterministic, "
            "without state, and sample by sample."
        )


def warn_of_rounding(outputs: Float[Tensor, "n k"], dtype: torch.dtype) -> None:
    """Warn where the forward pass itself computes in half precision: its rounding is the kernel's."""
    kind = computed_dtype(outputs)
    if kind.itemsize < min(4, dtype.itemsize):
        warnings.warn(
            f"the model computes parts of its forward pass in {kind} itself (autocast, or a cast in its code), "
            f"although its parameters are in {dtype}: the kernel has the rounding of {kind}.",
            PrecisionWarning,
            stacklevel=2,
        )


def wrong_layers(
    outputs: Float[Tensor, "n k"], terms: Iterable[tuple[str, Term]], parameters: Mapping[str, Tensor]
) -> list[str]:
    """Layers whose collected gradients, in a random combination of samples and outputs, are not as long as autograd's.

    Both are taken on the graph of `outputs`, so that no rounding in the forward pass tells them apart. Terms are
    dropped as they come.
    """
    generator = torch.Generator().manual_seed(0)
    weights = (0.5 + torch.rand(outputs.shape, generator=generator)).to(outputs)
    expected = _lengths_by_autograd((weights * outputs).sum(), parameters)
    found: dict[str, float] = dict.fromkeys(expected, 0.0)
    for layer, term in terms:
        found[layer] = found.get(layer, 0.0) + _combined(weights, term).double().square().sum().item()
        del term
    # A gradient that is zero comes out as rounding of the others.
    eps = torch.finfo(coarsest_dtype(outputs)).eps
    floor = (1e3 * eps) ** 2 * sum(expected.values())
    # So does one whose effect, were the parameters doubled, is below the outputs' own rounding.
    size = sum(as_real(value.detach()).double().square().sum().item() for value in parameters.values())
    largest = weights.double().abs().max().item() * outputs.detach().double().abs().max().item()
    floor = max(floor, (10 * eps * len(outputs) * largest) ** 2 / max(size, 1.0))
    tolerance = _tolerance(outputs)
    return [
        layer
        for layer, length in found.items()
        if abs(length - expected.get(layer, 0.0)) > max(tolerance * expected.get(layer, 0.0), floor)
    ]


def _lengths_by_autograd(output: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, float]:
    """The squared length of the gradient of an output in the parameters of each layer."""
    lengths: dict[str, float] = {}
    grads = torch.autograd.grad(output, list(parameters.values()), allow_unused=True, retain_graph=True)
    for name, grad in zip(parameters, grads, strict=True):
        if grad is not None:
            lengths[layer_of(name)] = (
                lengths.get(layer_of(name), 0.0) + as_real(dense(grad)).double().square().sum().item()
            )
    return lengths


def _combined(weights: Float[Tensor, "n k"], term: Term) -> Float[Tensor, " p"]:
    gradients = term.gradients()
    return torch.einsum("nk,nkp->p", weights.to(gradients.dtype), gradients)


def _tolerance(outputs: Tensor) -> float:
    """The tolerance of the least precise data type that the forward pass used."""
    return TOLERANCE.get(coarsest_dtype(outputs), COARSE_TOLERANCE)


def same(
    first: Iterable[tuple[str, Term]],
    second: Iterable[tuple[str, Term]],
    outputs: Float[Tensor, "n k"],
    others: Float[Tensor, "n k"],
) -> bool:
    """Whether two ways to compute outputs and gradients of the same samples agree; terms are dropped as they come."""
    pairs = ((layer, mine, theirs) for (layer, mine), (_, theirs) in zip(first, second, strict=True))
    found = _difference(pairs, outputs, others)
    return bool((found <= max(SAME, torch.finfo(outputs.dtype).eps)).all())


def difference_of(
    first: Block, second: Block, outputs: Tensor | None = None, others: Tensor | None = None
) -> Float[Tensor, " n"]:
    """How far apart the embeddings (and outputs) of the same samples are, relative to their length; of the worst layer.

    Not a number where `first` is not finite: another check reports that.
    """
    pairs = (
        (layer, mine, theirs)
        for layer, terms in first.layers.items()
        for mine, theirs in zip(terms, second.layers[layer], strict=True)
    )
    return _difference(pairs, outputs, others)


def _difference(
    pairs: Iterable[tuple[str, Term, Term]], outputs: Tensor | None, others: Tensor | None
) -> Float[Tensor, " n"]:
    """The same, of terms of the two one after the other."""
    by_layer: dict[str, Tensor] = {}
    for layer, mine, theirs in pairs:
        three = mine.squares(theirs)
        by_layer[layer] = by_layer[layer] + three if layer in by_layer else three
    own, other, departures = torch.stack(list(by_layer.values()), dim=1)
    squares = torch.maximum(own, other)
    total = squares.sum(dim=0)
    floor = FLOOR**2 * total.nan_to_num(0.0, 0.0, 0.0).max()
    scale = torch.maximum(squares, (SMALL_LAYER**2 * total).clamp(min=floor))
    found = torch.where(departures > 0, (departures / scale).sqrt(), torch.where(departures == 0, 0.0, torch.nan))
    worst = found.amax(dim=0)
    if outputs is not None and others is not None:
        apart = (outputs - others).abs().amax(dim=1).double()
        largest = outputs.abs().nan_to_num(0.0, 0.0, 0.0).max().clamp(min=torch.finfo(outputs.dtype).tiny)
        apart = torch.where(torch.isfinite(outputs).all(dim=1), apart, 0.0)
        worst = torch.maximum(worst, (apart / largest).to(worst.device))
    return torch.where(torch.isfinite(own).all(dim=0), worst.nan_to_num(torch.inf), 0.0)
