import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from afterkernel.errors import UserError
from afterkernel.transforms import augment, cropped_px, rotate, shift, swap, zoom, zoom_is_identity

SHAPES = [(28, 28), (32, 32), (8, 8), (5, 7)]


def random_images(n=3, c=2, h=6, w=6, seed=0, dtype=torch.float64):
    return torch.rand(n, c, h, w, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def scipy_affine(image, angle_rad, dx_px, dy_px, order, mode):
    """One channel (h, w) turned about its centre, then shifted, by scipy."""
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    matrix = np.array([[cos, sin], [-sin, cos]])  # rows first: y' = cos y + sin x, x' = -sin y + cos x
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - matrix @ (centre + np.array([dy_px, dx_px]))
    return ndimage.affine_transform(image, matrix, offset, order=order, mode=mode, cval=0.0)


@pytest.mark.parametrize(("h", "w"), SHAPES)
@pytest.mark.parametrize("angle_rad", [0.25, -0.25, 1.1])
@pytest.mark.parametrize(("interpolation", "order"), [("nearest", 0), ("bilinear", 1)])
@pytest.mark.parametrize(("fill", "mode"), [("zeros", "grid-constant"), ("edge", "nearest")])
def test_rotate_agrees_with_scipy(h, w, angle_rad, interpolation, order, fill, mode):
    images = random_images(2, 2, h, w)
    turned = rotate(images, angle_rad, interpolation, fill)
    for image, result in zip(images.reshape(-1, h, w), turned.reshape(-1, h, w), strict=True):
        expected = scipy_affine(image.numpy(), angle_rad, 0, 0, order, mode)
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("side", [28, 32])
def test_quarter_radian_comes_near_no_tie_of_rounding(side):
    # A coordinate within float32's error (1e-5 at this size) of .5 would be read differently by TensorFlow.
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    for angle_rad in (0.25, -0.25):
        cos, sin = math.cos(angle_rad), math.sin(angle_rad)
        coordinates = np.stack([cos * x - sin * y, sin * x + cos * y]) + (side - 1) / 2
        to_tie = np.abs(coordinates - np.floor(coordinates) - 0.5)
        assert to_tie.min() == pytest.approx(6.1588e-4, rel=1e-4)


def test_rotate_by_a_right_angle_is_counter_clockwise():
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert torch.equal(rotate(image, math.pi / 2), torch.rot90(image, 1, (2, 3)))
    assert rotate(image, math.pi / 2)[0, 0].tolist() == [[3, 7, 11, 15], [2, 6, 10, 14], [1, 5, 9, 13], [0, 4, 8, 12]]


def test_rotate_fills_with_zeros_outside_the_frame():
    # At 45 degrees a corner of 3x3 reads sqrt(2) from the centre along one axis: 1.41 rounds to 1, an edge's middle.
    image = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])[None, None]
    assert rotate(image, math.pi / 4)[0, 0].tolist() == [[2, 3, 6], [1, 5, 9], [4, 7, 8]]
    # On 5x5 a corner lies 2.83 from the centre, which rounds to 3: outside.
    corners = rotate(torch.ones(1, 1, 5, 5), math.pi / 4)[0, 0]
    assert corners.tolist() == [[0, 1, 1, 1, 0], [1] * 5, [1] * 5, [1] * 5, [0, 1, 1, 1, 0]]


def test_nearest_rounds_half_away_from_zero():
    # On 2x3 a right angle reads x at 1.5, 0.5 for rows 0, 1 and y at -0.5, 0.5, 1.5 for columns 0, 1, 2: all are ties.
    # As in TensorFlow, -0.5 becomes -1 and 1.5 becomes 2, both outside; 0.5 becomes 1.
    image = torch.arange(1.0, 7.0).reshape(1, 1, 2, 3)
    assert rotate(image, math.pi / 2)[0, 0].tolist() == [[0, 6, 0], [0, 5, 0]]


def test_shift_by_hand():
    image = torch.arange(1.0, 17.0).reshape(1, 1, 4, 4)
    right = [[0, 1, 2, 3], [0, 5, 6, 7], [0, 9, 10, 11], [0, 13, 14, 15]]
    assert shift(image, 1, 0)[0, 0].tolist() == right
    assert shift(image, 0, 2)[0, 0].tolist() == [[0] * 4, [0] * 4, [1, 2, 3, 4], [5, 6, 7, 8]]
    assert shift(image, -1, 0, fill="edge")[0, 0, 0].tolist() == [2, 3, 4, 4]
    assert shift(image, 0.25, 0)[0, 0, 0].tolist() == [0.75, 1.75, 2.75, 3.75]
    assert shift(image, 4, 0).count_nonzero() == 0


def test_one_value_for_each_image():
    images = random_images(3)
    angles = torch.tensor([0.1, -0.7, 2.0])
    turned, moved = rotate(images, angles), shift(images, angles * 3, 1)
    for i in range(3):
        assert torch.equal(turned[i : i + 1], rotate(images[i : i + 1], angles[i].item()))
        assert torch.equal(moved[i : i + 1], shift(images[i : i + 1], (angles[i] * 3).item(), 1))


def tensorflow_resize(image, h, w):
    """TensorFlow's bilinear resize with half-pixel centres and no antialias, on one channel, pixel by pixel."""
    out = np.empty((h, w))
    for i in range(h):
        for j in range(w):
            y, x = (i + 0.5) * image.shape[0] / h - 0.5, (j + 0.5) * image.shape[1] / w - 0.5
            y0, x0 = max(math.floor(y), 0), max(math.floor(x), 0)
            y1, x1 = min(math.ceil(y), image.shape[0] - 1), min(math.ceil(x), image.shape[1] - 1)
            fy, fx = y - math.floor(y), x - math.floor(x)
            upper = image[y0, x0] * (1 - fx) + image[y0, x1] * fx
            lower = image[y1, x0] * (1 - fx) + image[y1, x1] * fx
            out[i, j] = upper * (1 - fy) + lower * fy
    return out


@pytest.mark.parametrize(("h", "w", "fraction"), [(28, 28, 13 / 14), (32, 32, 13 / 14), (8, 8, 0.5), (28, 9, 0.75)])
def test_zoom_is_a_central_crop_resized_as_by_tensorflow(h, w, fraction):
    image = random_images(1, 1, h, w)
    top, left = int((h - h * fraction) / 2), int((w - w * fraction) / 2)
    assert top > 0
    expected = tensorflow_resize(image[0, 0].numpy()[top : h - top, left : w - left], h, w)
    np.testing.assert_allclose(zoom(image, fraction)[0, 0].numpy(), expected, atol=1e-12)


def test_zoom_by_hand():
    image = torch.tensor([[9.0, 9, 9, 9], [9, 0, 4, 9], [9, 8, 12, 9], [9, 9, 9, 9]])[None, None]
    assert zoom(image, 0.5)[0, 0].tolist() == [[0, 1, 3, 4], [2, 3, 5, 6], [6, 7, 9, 10], [8, 9, 11, 12]]


def test_zoom_cuts_one_pixel_off_mnist_and_cifar_and_none_off_small_images():
    assert {side: cropped_px(side) for side in (8, 27, 28, 32, 56)} == {8: 0, 27: 0, 28: 1, 32: 1, 56: 2}
    assert zoom_is_identity(8)
    assert not zoom_is_identity(28)
    digits = random_images(2, 1, 8, 8)
    assert torch.equal(zoom(digits), digits)


def test_swap_by_hand():
    even = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert swap(even)[0, 0].tolist() == [[10, 11, 2, 3], [14, 15, 6, 7], [8, 9, 0, 1], [12, 13, 4, 5]]
    odd = torch.arange(15.0).reshape(1, 1, 3, 5)
    assert swap(odd)[0, 0].tolist() == [[13, 14, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 0, 1]]


sides = st.integers(1, 9)
seeds = st.integers(0, 2**32)


@settings(deadline=None)
@given(sides, sides, seeds)
def test_swap_twice_gives_the_images_back(h, w, seed):
    images = random_images(2, 1, h, w, seed)
    assert torch.equal(swap(swap(images)), images)
    assert torch.equal(swap(images).flatten().sort().values, images.flatten().sort().values)


@settings(deadline=None)
@given(sides, sides, seeds, st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
def test_the_same_pixels_are_read_in_every_data_type(h, w, seed, dtype):
    narrow = random_images(2, 1, h, w, seed, dtype)
    wide = narrow.double()
    for transform in (swap, lambda x: rotate(x, 0.25), lambda x: shift(x, 1, -2), lambda x: shift(x, 1, 1, "edge")):
        assert transform(narrow).dtype == dtype
        assert torch.equal(transform(narrow).double(), transform(wide))
    assert torch.allclose(zoom(narrow, 0.5).double(), zoom(wide, 0.5), atol=0.02)


@settings(deadline=None)
@given(sides, sides, seeds)
def test_an_image_does_not_depend_on_its_batch(h, w, seed):
    images = random_images(3, 2, h, w, seed)
    for transform in (swap, zoom, shift, lambda x: rotate(x, -0.25), lambda x: rotate(x, 0.3, "bilinear")):
        assert torch.equal(transform(images)[1:2], transform(images[1:2]))


def test_transforms_leave_their_input_alone():
    images = random_images()
    before = images.clone()
    for transform in (swap, zoom, shift, lambda x: rotate(x, 0.25), lambda x: augment(x, torch.Generator())):
        transform(images).zero_()
        assert torch.equal(images, before)


def test_augment_turns_and_shifts_within_its_limits_bilinearly_with_the_edge_repeated():
    images = random_images(5, 1, 9, 9)
    draws = torch.rand(3, 5, generator=torch.Generator().manual_seed(7), dtype=torch.float64) * 2 - 1
    result = augment(images, torch.Generator().manual_seed(7), max_angle_rad=0.5, max_shift_px=2.0)
    for image, moved, (turn, right, down) in zip(images, result, draws.T.tolist(), strict=True):
        expected = scipy_affine(image[0].numpy(), turn * 0.5, right * 2, down * 2, 1, "nearest")
        np.testing.assert_allclose(moved[0].numpy(), expected, atol=1e-12)


def test_augment_draws_for_each_image_and_repeats_with_the_generator():
    images = random_images(1).expand(4, -1, -1, -1)
    first, again, other = (augment(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(torch.unique(first.flatten(1), dim=0)) == 4


def test_augment_without_strength_changes_nothing_and_never_darkens_an_edge():
    images = random_images()
    assert torch.equal(augment(images, torch.Generator(), 0.0, 0.0), images)
    assert torch.allclose(augment(torch.ones(4, 1, 8, 8), torch.Generator(), 1.0, 3.0), torch.ones(4, 1, 8, 8))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: swap(x[0]), r"shape \(n, c, h, w\)"),
        (lambda x: shift(x.long()), "torch.int64"),
        (lambda x: rotate(x, 0.1, "cubic"), "choose one of nearest, bilinear"),
        (lambda x: shift(x, 1, 0, "wrap"), "choose one of zeros, edge"),
        (lambda x: rotate(x, torch.zeros(2)), "2 angles or shifts were given for 3 images"),
        (lambda x: zoom(x, 0.0), "crop_fraction=0.0"),
        (lambda x: zoom(x, 1e-20), "leaves no pixel"),
    ],
)
def test_errors_are_reported(call, message):
    with pytest.raises(UserError, match=message):
        call(random_images())


@pytest.mark.gpu
def test_the_gpu_reads_the_same_pixels():
    images = random_images(3, 1, 28, 28, dtype=torch.float32)
    for transform in (swap, lambda x: shift(x, 1, 0), lambda x: rotate(x, 0.25)):
        assert torch.equal(transform(images.cuda()).cpu(), transform(images))
    for transform in (zoom, lambda x: augment(x, torch.Generator().manual_seed(0))):
        assert torch.allclose(transform(images.cuda()).cpu(), transform(images), atol=1e-6)
