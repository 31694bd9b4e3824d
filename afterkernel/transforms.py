"""Transforms of image batches (n, c, h, w): shift, rotate, zoom, swap, and the random ones of augmentation.

The four are those of P. M. Long, "Properties of the After Kernel", arXiv 2105.10585. Pixel (x, y) is column x, row y;
x grows to the right, y downwards. Every resampling is one affine map from output to input pixels, whose coordinates
are computed in float64 on the CPU, so that all devices and data types read the same pixels. Values stay in the data
type and on the device of the images. Nearest neighbour rounds half away from zero, as TensorFlow does.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from afterkernel.errors import UserError
from afterkernel.text import a_kind
from afterkernel.types import Float, Tensor

INTERPOLATIONS = ("nearest", "bilinear")
FILLS = ("zeros", "edge")


def shift(
    images: Tensor, dx_px: int | float | Tensor = 1, dy_px: int | float | Tensor = 0, fill: str = "zeros"
) -> Float[Tensor, "n c h w"]:
    """Images moved dx_px pixels to the right and dy_px down; a fraction of a pixel is interpolated bilinearly.

    images: floats (n, c, h, w). dx_px, dy_px: a number, or one for each image (n). fill: what comes in from outside,
    "zeros" or "edge" (the nearest pixel repeated). Whole pixels move exactly. Raises UserError for other shapes or
    names.
    """
    _check_images(images)
    return _affine(images, 0.0, dx_px, dy_px, "bilinear", fill)


def rotate(
    images: Tensor, angle_rad: int | float | Tensor, interpolation: str = "nearest", fill: str = "zeros"
) -> Float[Tensor, "n c h w"]:
    """Images turned about their centre ((w-1)/2, (h-1)/2), counter-clockwise to the eye for a positive angle.

    Output pixel (x, y) reads the input at (cos (x-cx) - sin (y-cy) + cx, sin (x-cx) + cos (y-cy) + cy), which is the
    map of TensorFlow Addons' `tfa.image.rotate`. images: floats (n, c, h, w). angle_rad: a number, or one for each
    image (n). interpolation: "nearest" or "bilinear". fill: "zeros" or "edge". Raises UserError for other shapes or
    names.
    """
    _check_images(images)
    return _affine(images, angle_rad, 0.0, 0.0, interpolation, fill)


def zoom(images: Tensor, crop_fraction: float = 13 / 14) -> Float[Tensor, "n c h w"]:
    """The central part of each image, resized back to the full size.

    Cut off each edge is `cropped_px` (TensorFlow's `central_crop`); the resize is bilinear with half-pixel centres and
    no antialiasing (TensorFlow's `image.resize`). images: floats (n, c, h, w). Small images may come back unchanged,
    see `zoom_is_identity`. Raises UserError for a fraction outside (0, 1] or one that leaves no pixel.
    """
    _check_images(images)
    h, w = images.shape[2:]
    top, left = cropped_px(h, crop_fraction), cropped_px(w, crop_fraction)
    if h == 2 * top or w == 2 * left:
        raise UserError(f"crop_fraction={crop_fraction} leaves no pixel of images of {h}x{w}: give a larger one.")
    cropped = images[:, :, top : h - top, left : w - left]
    return functional.interpolate(cropped, size=(h, w), mode="bilinear", align_corners=False, antialias=False)


def cropped_px(side_px: int, crop_fraction: float = 13 / 14) -> int:
    """Pixels that `zoom` cuts off each of two opposite edges: int((side - side * fraction) / 2), in float64."""
    if not 0 < crop_fraction <= 1:
        raise UserError(f"crop_fraction={crop_fraction} is not a part of an image: it must be above 0 and at most 1.")
    return int((side_px - side_px * crop_fraction) / 2)


def zoom_is_identity(side_px: int, crop_fraction: float = 13 / 14) -> bool:
    """Whether `zoom` leaves images of this side as they are, since it rounds the cut to no pixel (13/14: below 28)."""
    return cropped_px(side_px, crop_fraction) == 0


def swap(images: Tensor) -> Float[Tensor, "n c h w"]:
    """Images with their upper-left and lower-right quadrants, h//2 by w//2 pixels each, exchanged.

    On odd sides the lower-right quadrant is the last h//2 rows and w//2 columns; the middle row and column stay.
    images: floats (n, c, h, w). Local statistics stay, global structure goes; swapping twice gives the images back.
    """
    _check_images(images)
    h, w = images.shape[2:]
    rows, columns = h // 2, w // 2
    swapped = images.clone()
    swapped[:, :, :rows, :columns] = images[:, :, h - rows :, w - columns :]
    swapped[:, :, h - rows :, w - columns :] = images[:, :, :rows, :columns]
    return swapped


def augment(
    images: Tensor,
    generator: torch.Generator,
    max_angle_rad: float = math.radians(15),
    max_shift_px: float = 1.0,
) -> Float[Tensor, "n c h w"]:
    """Each image turned and shifted at random: uniform within +-max_angle_rad and +-max_shift_px on either axis.

    images: floats (n, c, h, w). Bilinear, edge pixels repeated. Every image has its own draw; the same state of the
    generator gives the same images.
    """
    _check_images(images)
    draws = torch.rand(3, len(images), generator=generator, dtype=torch.float64, device=generator.device) * 2 - 1
    angle_rad, (dx_px, dy_px) = draws[0] * max_angle_rad, draws[1:] * max_shift_px
    return _affine(images, angle_rad, dx_px, dy_px, "bilinear", "edge")


def _check_images(images: object) -> None:
    if not isinstance(images, Tensor):
        raise UserError(f"images are floats of shape (n, c, h, w); this is {a_kind(images)}.")
    if images.dim() != 4 or not images.is_floating_point():
        raise UserError(f"images are floats of shape (n, c, h, w); these are {images.dtype} of {tuple(images.shape)}.")


def _affine(
    images: Tensor,
    angle_rad: int | float | Tensor,
    dx_px: int | float | Tensor,
    dy_px: int | float | Tensor,
    interpolation: str,
    fill: str,
) -> Float[Tensor, "n c h w"]:
    """Images turned about their centre, then shifted."""
    if interpolation not in INTERPOLATIONS:
        raise UserError(f"interpolation={interpolation!r} is not known: choose one of {', '.join(INTERPOLATIONS)}.")
    if fill not in FILLS:
        raise UserError(f"fill={fill!r} is not known: choose one of {', '.join(FILLS)}.")
    n, _, h, w = images.shape
    angle, dx, dy = (_one_or_each(value, n) for value in (angle_rad, dx_px, dy_px))
    centre_x, centre_y = (w - 1) / 2, (h - 1) / 2
    x = torch.arange(w, dtype=torch.float64) - centre_x - dx
    y = torch.arange(h, dtype=torch.float64)[:, None] - centre_y - dy
    cos, sin = angle.cos(), angle.sin()
    return _resample(images, cos * x - sin * y + centre_x, sin * x + cos * y + centre_y, interpolation, fill)


def _one_or_each(value: int | float | Tensor, n: int) -> Float[Tensor, "b 1 1"]:
    each = torch.as_tensor(value, dtype=torch.float64, device="cpu").reshape(-1, 1, 1)
    if not bool(torch.isfinite(each).all()):
        raise UserError("an angle or a shift is NaN or infinite: give finite numbers.")
    if len(each) not in (1, n):
        raise UserError(f"{len(each)} angles or shifts were given for {n} images: give one, or one for each image.")
    return each


def _resample(
    images: Tensor, x: Float[Tensor, "b h w"], y: Float[Tensor, "b h w"], interpolation: str, fill: str
) -> Float[Tensor, "n c h w"]:
    """Images read at the float64 input coordinates of each output pixel, the same for all (b = 1) or each its own."""
    if interpolation == "nearest":
        return _read(images, _round_half_away(x), _round_half_away(y), fill)
    left, top = x.floor(), y.floor()
    right_weight, lower_weight = x - left, y - top
    total = torch.zeros_like(images)
    for column, across in ((left, 1 - right_weight), (left + 1, right_weight)):
        for row, down in ((top, 1 - lower_weight), (top + 1, lower_weight)):
            weight = across * down
            if weight.any():  # whole pixels need one of the four
                total += weight.to(images.device, images.dtype).unsqueeze(1) * _read(images, column, row, fill)
    return total


def _round_half_away(x: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    return torch.trunc(x + torch.copysign(torch.tensor(0.5, dtype=x.dtype), x))


def _read(
    images: Tensor, column: Float[Tensor, "b h w"], row: Float[Tensor, "b h w"], fill: str
) -> Float[Tensor, "n c h w"]:
    """Pixels at whole coordinates; outside the frame zeros, or the nearest pixel of the edge."""
    n, c, h, w = images.shape
    index = (row.clamp(0, h - 1) * w + column.clamp(0, w - 1)).long().to(images.device)
    pixels = images.flatten(2).gather(2, index.reshape(-1, 1, h * w).expand(n, c, -1)).reshape(images.shape)
    if fill == "edge":
        return pixels
    outside = (row < 0) | (row > h - 1) | (column < 0) | (column > w - 1)
    return pixels.masked_fill(outside.to(images.device).unsqueeze(1), 0)
