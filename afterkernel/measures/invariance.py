"""Invariance of an embedding under transforms of its images (P. M. Long, arXiv 2105.10585).

The invariance under T is the mean over images x of the cosine <phi(x), phi(Tx)> / (|phi(x)| |phi(Tx)|), with 1e-4
added to each norm. Embeddings are only ever paired row by row, in blocks of images; sums are in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels.embedding import BlockSource, embedding
from afterkernel.kernels.inputs import check_arguments, check_images
from afterkernel.kernels.precision import exact_products
from afterkernel.kernels.terms import Block
from afterkernel.measures.options import Measure
from afterkernel.progress import progress
from afterkernel.transforms import rotate, shift, swap, zoom
from afterkernel.types import Float, Tensor

NORM_OFFSET = 1e-4

# Each transform gives the versions of the images over which its cosine is averaged.
TRANSFORMS: dict[str, Callable[[Tensor, Measure], list[Tensor]]] = {
    "shift": lambda x, options: [shift(x, options.shift_px, 0), shift(x, 0, options.shift_px)],
    "rotation": lambda x, options: [rotate(x, options.angle_rad), rotate(x, -options.angle_rad)],
    "zoom": lambda x, options: [zoom(x, options.crop_fraction)],
    "swap": lambda x, _: [swap(x)],
}


def invariance(
    phi: BlockSource, images: Tensor, transform: str, options: Measure | None = None, *, images_at_once: int = 64
) -> float:
    """Invariance of an embedding under "shift", "rotation", "zoom" or "swap"; 1 if it does not change at all.

    images: floats (n, c, h, w); all are used. options: the strengths of the transforms. Raises UserError for an
    unknown transform or for no images.
    """
    return invariances(phi, images, options, transforms=(transform,), images_at_once=images_at_once)[transform]


def invariances(
    phi: BlockSource,
    images: Tensor,
    options: Measure | None = None,
    *,
    transforms: Sequence[str] = tuple(TRANSFORMS),
    images_at_once: int = 64,
) -> dict[str, float]:
    """Invariances by name of transform; each original image is embedded once for all of them.

    images: floats (n, c, h, w); all are used, so take `sample_images` first. Memory: two blocks of `images_at_once`
    embeddings. Raises UserError for an unknown transform or for no images.
    """
    options = options or Measure()
    for name in transforms:
        if name not in TRANSFORMS:
            raise UserError(f"transform={name!r} is not known: choose one of {', '.join(TRANSFORMS)}.")
    if len(images) == 0:
        raise UserError("there are no images to measure an invariance on: give at least one.")
    totals = dict.fromkeys(transforms, 0.0)
    with exact_products(), progress("Invariances", len(images)) as advance:
        for block in torch.split(images, images_at_once):
            original = phi.block(block)
            original_norms = _norms(original)
            for name in transforms:
                versions = TRANSFORMS[name](block, options)
                cosines = (_cosines(original, original_norms, phi.block(version)).sum().item() for version in versions)
                totals[name] += sum(cosines) / len(versions)
            advance(len(block))
    return {name: total / len(images) for name, total in totals.items()}


def sample_images(images: Tensor, options: Measure) -> Float[Tensor, "k c h w"]:
    """`options.num_images` of the images (n, c, h, w), without repetition, chosen by `options.seed`, in their order."""
    if len(images) <= options.num_images:
        return images
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(options.seed))
    return images[order[: options.num_images].sort().values.to(images.device)]


def model_invariance(
    model: nn.Module,
    x: Tensor,
    transform: str,
    kernel: str = "ntk",
    *,
    options: Measure | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    images_at_once: int = 64,
) -> float:
    """Invariance of a model's kernel under a transform, averaged over all images x (n, c, h, w).

    transform: "shift", "rotation", "zoom" or "swap"; kernel: "ntk" or "conjugate"; embeddings are computed in `dtype`
    on `device`. Raises UserError for unknown names, for no images or what is none, and for a model without the
    kernel.
    """
    check_arguments(model, {"x": x})
    check_images(x)
    phi = embedding(model, kernel, dtype=dtype, device=device)
    return invariance(phi, x, transform, options, images_at_once=images_at_once)


def _cosines(a: Block, a_norms: Float[Tensor, " n"], b: Block) -> Float[Tensor, " n"]:
    return a.paired_products(b) / ((a_norms + NORM_OFFSET) * (_norms(b) + NORM_OFFSET))


def _norms(a: Block) -> Float[Tensor, " n"]:
    return a.paired_products(a).sqrt()
