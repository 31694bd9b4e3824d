"""Random features of the tangent kernel of a model in one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack, overload

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels.calls import batches_of, blamed_on
from afterkernel.kernels.computation import slices
from afterkernel.kernels.finite import FiniteCheck
from afterkernel.kernels.gram import check_samples
from afterkernel.kernels.inputs import check_options, check_types, place_of
from afterkernel.kernels.layout import LayoutChangedError, TableWrittenOutError
from afterkernel.kernels.plan import DEFAULT_BUDGET_BYTES, LayerPlan, check_budget
from afterkernel.kernels.precision import exact_products, precision
from afterkernel.kernels.sample_sources import Inputs
from afterkernel.kernels.samples import Batch, Forward
from afterkernel.kernels.sketch_embedding import SketchEmbedding
from afterkernel.kernels.trained import Choice
from afterkernel.progress.work import progress
from afterkernel.types import Float, Tensor

LARGEST_DIM = 2**24


@dataclass(frozen=True)
class Sketch:
    """Random features of samples, with how exact they are.

    embedding: (n, dim), as `sketch` returns it. relative_error: the root mean square error of an entry K_ij relative to
    |phi(x_i)| |phi(x_j)|, estimated from exact entries of up to 48 of the samples; None for a single sample. plan: how
    each layer is sketched. layout: a hash of the random map; only sketches of equal layout may be multiplied.
    """

    embedding: Float[Tensor, "n *outputs dim"]
    relative_error: float | None
    plan: tuple[LayerPlan, ...]
    layout: str

    def kernel(self, other: Sketch | None = None) -> Float[Tensor, " ..."]:
        """The estimated kernel with the samples of `other`, or with themselves: shapes as `ntk` gives them.

        Raises UserError where the two are sketches by different maps.
        """
        other = self if other is None else other
        if other.layout != self.layout:
            raise UserError(
                "the two sketches are not by the same random map: take the same model, output, dim and seed for both."
            )
        if self.embedding.ndim == 2:
            return self.embedding @ other.embedding.T
        return torch.einsum("nkd,mld->nmkl", self.embedding, other.embedding)


class _Options(TypedDict, total=False):
    forward: Forward | None
    output: int | str | None
    parameters: Choice | None
    dtype: torch.dtype | str
    device: str | torch.device | None
    budget_bytes: int


@overload
def sketch(
    model: nn.Module,
    x: Inputs,
    dim: int = ...,
    seed: int = ...,
    *,
    details: Literal[True],
    **options: Unpack[_Options],
) -> Sketch: ...
@overload
def sketch(
    model: nn.Module,
    x: Inputs,
    dim: int = ...,
    seed: int = ...,
    *,
    details: Literal[False] = False,
    **options: Unpack[_Options],
) -> Tensor: ...
@torch.inference_mode(False)
@torch.no_grad()
def sketch(  # noqa: PLR0913 (public, all but four by name)
    model: nn.Module,
    x: Inputs,
    dim: int = 4096,
    seed: int = 0,
    *,
    forward: Forward | None = None,
    output: int | str | None = None,
    parameters: Choice | None = None,
    dtype: torch.dtype | str = torch.float32,
    device: str | torch.device | None = None,
    budget_bytes: int = DEFAULT_BUDGET_BYTES,
    details: bool = False,
) -> Float[Tensor, "n *outputs dim"] | Sketch:
    """Random features E of a model's gradients: E E^T is an unbiased estimate of `ntk(model, x)`.

    The root mean square error of an entry is about sqrt((1 + c^2) / dim) of |phi(x)| |phi(y)|, c their cosine: 0.016 to
    0.022 at dim=4096. Each layer is shortened from its factors by TensorSketch (Pham and Pagh 2013) or from its
    gradients written out, whichever is cheaper, so that nothing of the size of a large layer is written.

    Args:
        model: as for `ntk`.
        x: n samples, as for `ntk`.
        dim: numbers per sample.
        seed: of the random map. With the same model, output, dim and seed, samples embedded in separate calls belong
            together: E_x E_y^T estimates `ntk(model, x, y)`.
        forward: as for `ntk`.
        output: as for `ntk`, but for "diagonal".
        parameters: as for `ntk`.
        dtype: torch.float32 or torch.float64.
        device: as for `ntk`.
        budget_bytes: bound on the memory in use at once, the result excluded.
        details: return a `Sketch`, whose error is estimated from exact entries.

    Returns:
        E (n, dim); for output="full" with c outputs (n, c, dim). With `details` an object with E as `.embedding`,
        `.relative_error`, `.plan` and `.layout`.

    Raises:
        UserError: as `ntk`; a dim or seed that is not a positive integer; and a model that uses its parameters
            differently for some samples, as sketches of separate calls would not belong together.
    """
    inputs = batches_of(model, x, None, forward)
    batch = inputs["x"]
    check_samples(batch)
    check_options(budget_bytes)
    _check_sizes(dim, seed)
    kind = precision(dtype)
    if not kind.exact:
        raise UserError(f"dtype={kind.name} is a precision of products, which a sketch has none of: choose float32.")
    if output == "diagonal":
        raise UserError(
            'output="diagonal" is not one of sketches: take output="full", of which E[:, k] is of output k.'
        )
    place = place_of(model, batch, device)
    options: dict[str, Any] = {"dtype": kind.dtype, "device": place, "output": output, "parameters": parameters}
    phi = SketchEmbedding(model, dim=dim, seed=seed, **options)
    check_types(phi, inputs)
    phi.limit_work(budget_bytes)
    try:
        with blamed_on(inputs):
            E, layout = _sketched(phi, batch, budget_bytes)
        error = phi.estimated_error(batch) if details else None
    except LayoutChangedError as changed:
        raise UserError(
            "the model uses its parameters differently for some samples, so that sketches of separate calls would not "
            "belong together: compute the exact kernel by ak.ntk."
        ) from changed
    found = E if output == "full" else E[:, 0]
    return Sketch(found, error, tuple(phi.layers), layout) if details else found


def _sketched(phi: SketchEmbedding, x: Batch, budget_bytes: int) -> tuple[Float[Tensor, "n k dim"], str]:
    """The sketches, and the layout of their map, which stays the same where a table has to be written out."""
    phi.plan_layers(x)
    check_budget(budget_bytes, phi.sample_bytes // phi.dtype.itemsize, phi.dtype.itemsize)
    E = torch.empty(len(x), phi.outputs, phi.dim, dtype=phi.dtype, device=phi.device)
    finite = FiniteCheck(phi.device)
    layout = ""
    try:
        with exact_products(), progress("Sketch", len(x)) as advance:
            for part in slices(0, len(x), phi.samples_at_once):
                gradients = phi.phi.block(x[part])
                finite.add(gradients, part.start, "x")
                layout = layout or phi.layout(gradients)
                E[part] = phi.shortened(gradients)
                del gradients
                advance(part.stop - part.start)
    except TableWrittenOutError:
        return _sketched(phi, x, budget_bytes)
    finite.settle()
    return E, layout


def _check_sizes(dim: object, seed: object) -> None:
    if type(dim) is not int or not 1 <= dim <= LARGEST_DIM:
        raise UserError(f"dim={dim!r} is not the length of a sketch: give an integer from 1 to {LARGEST_DIM}.")
    if type(seed) is not int or seed < 0:
        raise UserError(f"seed={seed!r} is not a seed: give an integer of at least 0.")
