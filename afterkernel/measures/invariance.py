"""Invariance of an embedding under transforms of its images (P. M. Long, arXiv 2105.10585).

The invariance under T is the mean over images x of the cosine <phi(x), phi(Tx)> / (|phi(x)| |phi(Tx)|), with 1e-4
added to each norm. Embeddings are only ever paired row by row, in blocks of images; sums are in float64.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernel_kinds import KINDS, KernelInput
from afterkernel.kernels.embedding import OF_NETWORKS, BlockSource, CalledByFunction, Embedding, embedding
from afterkernel.kernels.gram import samples_to_pair
from afterkernel.kernels.inputs import check_images, check_model, place_of
from afterkernel.kernels.layout import try_again
from afterkernel.kernels.precision import exact_products
from afterkernel.kernels.sample_sources import Inputs, samples
from afterkernel.kernels.samples import Forward
from afterkernel.measures.measure import Measure, Numbers
from afterkernel.measures.normalisation import NORM_OFFSET
from afterkernel.options import LARGEST_INT, option
from afterkernel.progress.work import progress
from afterkernel.transforms import rotate, shift, swap, zoom, zoom_is_identity
from afterkernel.types import Float, Tensor

log = logging.getLogger(__name__)

# Images embedded at once if the embedding does not choose.
IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class Transform:
    """A transform of images at any strength, and everything that follows from its name.

    `versions` are those of the images over which the cosine is averaged; `paper` is the strength of arXiv 2105.10585,
    `option` the option of `Invariance` that lists strengths, and `unit` what follows a strength in a name. `fits` says
    whether images of a side in pixels have that strength, and `allowed` the same in words.
    """

    versions: Callable[[Tensor, Any], list[Tensor]]
    paper: float | None = None
    option: str = ""
    unit: str = ""
    fits: Callable[[float, int], bool] = lambda _strength, _side: False
    allowed: str = "left out, as it has none"


TRANSFORMS: dict[str, Transform] = {
    "shift": Transform(
        lambda x, px: [shift(x, px, 0), shift(x, 0, px)],
        paper=1,
        option="shift_px",
        unit="px",
        fits=lambda px, side: 0 < px < side,
        allowed="a number above 0, such as 1, and less than the side of the images in pixels",
    ),
    "rotation": Transform(
        lambda x, rad: [rotate(x, rad), rotate(x, -rad)],
        paper=0.25,
        option="angle_rad",
        unit="rad",
        fits=lambda rad, _side: 0 < rad <= math.pi,
        allowed="a number above 0, such as 0.25, and at most pi",
    ),
    "zoom": Transform(
        lambda x, fraction: [zoom(x, fraction)],
        paper=13 / 14,
        option="crop_fraction",
        fits=lambda fraction, side: 0 < fraction <= 1 and fraction * side >= 1,
        allowed="a number above 0, such as 0.9286, at most 1, and keep a pixel of the images",
    ),
    "swap": Transform(lambda x, _: [swap(x)]),
}


@dataclass
class Invariance(Measure):
    """Invariances under shift, rotation, zoom and swap, at one strength or several."""

    name: ClassVar[str] = "invariance"
    what: ClassVar[str] = (
        "mean cosine between the embeddings of images and of their shifted, rotated, zoomed and swapped versions"
    )
    cost: ClassVar[str] = (
        "7 n embeddings at one strength each, 2 n more for each shift and angle, n for each zoom, n = num_images"
    )
    by_default: ClassVar[bool] = True
    several_classes: ClassVar[bool] = True

    shift_px: list[int] = option(
        [1], "invariance: shifts to the right and down, in pixels; the first keeps the plain name", at_least=1
    )
    angle_rad: list[float] = option(
        [0.25], "invariance: rotations to either side, in radians", above=0, at_most=math.pi
    )
    crop_fraction: list[float] = option(
        [13 / 14], "invariance: fractions of each side that zoom keeps", above=0, at_most=1
    )

    def strengths(self) -> dict[str, tuple[str, float | None]]:
        """The transform and strength of every number: the first strength of each has the transform's own name."""
        found: dict[str, tuple[str, float | None]] = {}
        for name, transform in TRANSFORMS.items():
            for i, value in enumerate(getattr(self, transform.option) if transform.option else [None]):
                label = f"{name}_{value:g}{transform.unit}" if i else name
                found[f"{label}_invariance"] = name, value
        return found

    def check(self) -> None:
        """Raise UserError for a strength that is named twice."""
        for option_name in (transform.option for transform in TRANSFORMS.values() if transform.option):
            shown = [f"{value:g}" for value in getattr(self, option_name)]
            if len(set(shown)) < len(shown):
                twice = next(value for value in shown if shown.count(value) > 1)
                raise UserError(
                    f"measure.{option_name}=[{','.join(shown)}] names {twice} twice: name each strength once."
                )

    def check_images(self, height: int, width: int) -> None:
        """Raise UserError for a shift or zoom that leaves no pixel of an image."""
        side = min(height, width)
        for px in self.shift_px:
            if px >= side:
                raise UserError(
                    f"measure.shift_px={px} moves {height}x{width} images entirely out of the frame: give less than "
                    f"{side}."
                )
        for fraction in self.crop_fraction:
            if fraction * side < 1:
                raise UserError(
                    f"measure.crop_fraction={fraction} keeps less than one pixel of a side of {height}x{width} images: "
                    f"give at least {1 / side:.4g}."
                )

    def warn_of_images(self, height: int, width: int) -> None:
        """Warn about zooms that crop nothing."""
        for fraction in self.crop_fraction:
            if _cuts_nothing(fraction, height, width):
                log.warning(
                    "measure.crop_fraction: %.4g cuts nothing off images of %dx%d pixels, so that this zoom invariance "
                    "is left out; to measure one, %s.",
                    fraction,
                    height,
                    width,
                    _zoom_that_cuts("'measure.crop_fraction=[{}]'", height, width),
                )

    def of_images(self, phi: BlockSource, images: Float[Tensor, "n c h w"], per_layer: bool) -> Numbers:
        """shift_invariance, ..., and for further strengths shift_2px_invariance, zoom_0.75_invariance, ...

        A zoom that cuts nothing off these images is None: 1 would say that the kernel is invariant to it.
        """
        found = invariances(phi, images, self, per_layer=per_layer)
        return {**dict.fromkeys(self.strengths()), **found}


def invariances(
    phi: BlockSource,
    images: Tensor,
    options: Invariance | None = None,
    *,
    per_layer: bool = False,
    images_at_once: int | None = None,
) -> dict[str, float]:
    """Invariances by name; every image is embedded once, and once for each version of it.

    images: floats (n, c, h, w); all are used, so take `sample_images` first. options: the strengths, the paper's by
    default; a zoom that cuts nothing off these images is left out. per_layer: also of each layer, as LAYER/NAME, at no
    further cost. Memory: two blocks of `images_at_once` embeddings, by default as many as the embedding takes in one
    batch. Raises UserError for no images.
    """
    strengths = {
        name: (transform, strength)
        for name, (transform, strength) in (options or Invariance()).strengths().items()
        if not (transform == "zoom" and strength is not None and _cuts_nothing(strength, *images.shape[-2:]))
    }
    return _measure(phi, images, strengths, per_layer, images_at_once)


def invariance(
    phi: BlockSource,
    images: Tensor,
    transform: str,
    strength: float | None = None,
    *,
    images_at_once: int | None = None,
) -> float:
    """Invariance of an embedding under "shift", "rotation", "zoom" or "swap"; 1 if it does not change at all.

    images: floats (n, c, h, w); all are used. strength: pixels, radians, or the part of a side that zoom keeps; the
    paper's by default. Raises UserError for an unknown transform, a strength that it does not have, a zoom that cuts
    nothing off images of this size (13/14 below 28 pixels), no images, and embeddings that are not finite or not longer
    than the offset of the definition.
    """
    if not isinstance(transform, str) or transform not in TRANSFORMS:
        raise UserError(f"transform={transform!r} is not known: choose one of {', '.join(TRANSFORMS)}.")
    if images_at_once is not None and not (type(images_at_once) is int and 0 < images_at_once <= LARGEST_INT):
        raise UserError(f"images_at_once={images_at_once!r} is not a number of images: give an integer of at least 1.")
    chosen = TRANSFORMS[transform]
    if strength is not None:
        is_number = isinstance(strength, (int, float)) and not isinstance(strength, bool)
        if not (is_number and chosen.fits(strength, min(images.shape[-2:]))):
            raise UserError(
                f"strength={strength!r} is not one of transform={transform!r}: it must be {chosen.allowed}."
            )
    used = chosen.paper if strength is None else strength
    if transform == "zoom" and used is not None and _cuts_nothing(used, *images.shape[-2:]):
        shown = "13/14" if strength is None else f"{strength:.4g}"
        raise UserError(
            f"zoom keeps {shown} of a side, which cuts nothing off images of {images.shape[-2]}x{images.shape[-1]}: "
            f"{_zoom_that_cuts('strength={}', *images.shape[-2:])}."
        )
    wanted_strength = {transform: (transform, used)}
    lengths: list[Tensor] = []
    found = _measure(phi, images, wanted_strength, False, images_at_once, lengths)[transform]
    longest = max(length.item() for length in lengths)
    if not math.isfinite(found):
        raise UserError(
            "the embeddings of the images are not finite, so they have no invariance: check model and images."
        )
    if 0 < longest < NORM_OFFSET:
        raise UserError(
            f"the embeddings of the images are at most {longest:.1e} long, less than the {NORM_OFFSET:g} that the "
            "invariance adds to each length: scale the model's output up."
        )
    return found


def model_invariance(  # noqa: PLR0913 (public, all but two by name)
    model: nn.Module,
    x: Inputs,
    transform: str,
    kernel: str = "ntk",
    *,
    strength: float | None = None,
    forward: Forward | None = None,
    output: int | str | None = None,
    layer: str | None = None,
    dtype: torch.dtype | str = torch.float32,
    device: str | torch.device | None = None,
    images_at_once: int | None = None,
) -> float:
    """Invariance of a model's kernel under a transform, averaged over all images x (n, c, h, w).

    transform: "shift", "rotation", "zoom" or "swap"; strength: pixels, radians, or the part of a side that zoom keeps,
    the paper's by default; kernel: the name of a kernel, such as "ntk" or "conjugate" (`afterkernel.kernel_kinds`; one
    that depends on training images, such as "rbf", takes x for them); forward: a function of (model, images), as for
    `ntk`; output: of a model with several outputs, as for `ntk`; layer: whose input is used, as for
    `conjugate_kernel`; embeddings are computed in `dtype` on `device`, by
    default the model's. Raises UserError for unknown names, a strength that the transform does not have, a zoom that
    cuts nothing off images of this size (13/14 below 28 pixels: give `strength`), x that is no batch of images, and a
    model without the kernel.
    """
    check_model(model)
    if output == "diagonal":
        raise UserError('output="diagonal" has no single invariance: give the number of an output, or "trace".')
    x = check_images(samples(x))
    place = place_of(model, x, device)
    if kernel in OF_NETWORKS:
        phi: Embedding = embedding(model, kernel, dtype=dtype, device=place, output=output, layer=layer)
        phi = phi if forward is None else CalledByFunction(phi, forward)
    elif not isinstance(kernel, str) or kernel not in KINDS:
        raise UserError(f"kernel={kernel!r} is not known: choose one of {', '.join(KINDS)}.")
    elif output is not None or layer is not None or forward is not None:
        raise UserError(f"kernel={kernel!r} has no output=, layer= and forward=: leave them out.")
    else:
        KINDS[kernel].check(model)
        phi = KINDS[kernel].embedding(KernelInput(model, x, dtype, torch.device(place)))
    return invariance(phi, x, transform, strength, images_at_once=images_at_once)


def _cuts_nothing(fraction: float, height: int, width: int) -> bool:
    """Whether a zoom leaves images of this size as they are."""
    return zoom_is_identity(height, fraction) and zoom_is_identity(width, fraction)


def _zoom_that_cuts(option: str, height: int, width: int) -> str:
    """What to do about a zoom that cuts nothing: give `option` of the weakest one that cuts a pixel off each edge."""
    side = max(height, width)
    if side < 4:  # half of it is one pixel at most
        return "these images are too small for a zoom"
    return f"give {option.format(f'{math.floor(1e4 * (1 - 2 / side)) / 1e4:g}')}"


def _measure(
    phi: BlockSource,
    images: Tensor,
    strengths: Mapping[str, tuple[str, float | None]],
    per_layer: bool,
    images_at_once: int | None,
    lengths: list[Tensor] | None = None,
) -> dict[str, float]:
    """The invariances by name; the length of the longest embedding of each block is appended to `lengths`."""
    if len(images) == 0:
        raise UserError("there are no images to measure an invariance on: give at least one.")
    if images_at_once is None:
        images_at_once = samples_to_pair(phi, images) if isinstance(phi, Embedding) else IMAGES_AT_ONCE
    totals: dict[str, Tensor | float] = {}

    def cosines_of(block: Tensor) -> dict[str, Tensor | float]:
        sums: dict[str, Tensor | float] = {}
        original = phi.block(block)
        norms = _norms(original.paired_layer_products(original), per_layer)
        if lengths is not None:
            lengths.append(norms[""].amax())
        for name, (transform, strength) in strengths.items():
            versions = TRANSFORMS[transform].versions(block, strength)
            for version in versions:
                moved = phi.block(version)
                products = _with_total(original.paired_layer_products(moved), per_layer)
                moved_norms = _norms(moved.paired_layer_products(moved), per_layer)
                for layer, product in products.items():
                    cosines = product / ((norms[layer] + NORM_OFFSET) * (moved_norms[layer] + NORM_OFFSET))
                    key = f"{layer}/{name}" if layer else name
                    # Left on its device: no version waits for the one before.
                    sums[key] = sums.get(key, 0.0) + cosines.sum() / len(versions)
        return sums

    with exact_products(), progress("Invariances", len(images)) as advance:
        for block in torch.split(images, images_at_once):
            for key, value in try_again(partial(cosines_of, block)).items():
                totals[key] = totals.get(key, 0.0) + value
            advance(len(block))
    return {name: float(total) / len(images) for name, total in totals.items()}


def _with_total(by_layer: dict[str, Float[Tensor, " n"]], per_layer: bool) -> dict[str, Float[Tensor, " n"]]:
    """Paired products of the whole embedding, named "", and with `per_layer` of each layer."""
    total = torch.stack(list(by_layer.values())).sum(dim=0)
    return {"": total, **by_layer} if per_layer else {"": total}


def _norms(by_layer: dict[str, Float[Tensor, " n"]], per_layer: bool) -> dict[str, Float[Tensor, " n"]]:
    return {name: squares.sqrt() for name, squares in _with_total(by_layer, per_layer).items()}
