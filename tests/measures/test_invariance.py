import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernel_kinds import KINDS, KernelInput
from afterkernel.kernels import machine
from afterkernel.kernels.embedding import embedding
from afterkernel.kernels.output import Output
from afterkernel.kernels.terms import Block, Gradients
from afterkernel.measures import TRANSFORMS, Invariance, invariance, invariances, model_invariance, sample_images
from afterkernel.transforms import rotate, shift, swap, zoom


class Pixels:
    """phi(x) = the pixels themselves, times a constant; counts the images that it embeds."""

    def __init__(self, scale=1.0, dtype=torch.float64):
        self.scale, self.dtype, self.seen = scale, dtype, 0

    def rows(self, x):
        return x.flatten(1).to(self.dtype) * self.scale

    def block(self, x, out=None):
        self.seen += len(x)
        return Block({"pixels": (Gradients(self.rows(x).unsqueeze(1)),)})


def random_images(n=5, c=1, h=28, w=28, seed=0):
    return torch.rand(n, c, h, w, generator=torch.Generator().manual_seed(seed))


def small_net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 6 * 6, 4), nn.ReLU(), nn.Linear(4, 1)
    )


def jacobian(model, images, layer):
    """Per-example gradients of one layer, by plain autograd in float64: (n, p)."""
    model = copy.deepcopy(model).double()
    parameters = list(model.get_submodule(layer).parameters())
    rows = [torch.autograd.grad(model(x[None].double()).squeeze(), parameters) for x in images]
    return torch.stack([torch.cat([grad.flatten() for grad in row]) for row in rows])


def numpy_cosines(a, b):
    a, b = a.double().numpy(), b.double().numpy()
    return (a * b).sum(1) / ((np.sqrt((a * a).sum(1)) + 1e-4) * (np.sqrt((b * b).sum(1)) + 1e-4))


VERSIONS = {
    "shift": [lambda x: shift(x, 1, 0), lambda x: shift(x, 0, 1)],
    "rotation": [lambda x: rotate(x, 0.25), lambda x: rotate(x, -0.25)],
    "zoom": [lambda x: zoom(x, 0.75)],
    "swap": [swap],
}


@pytest.mark.parametrize("kernel", ["ntk", "conjugate"])
@pytest.mark.parametrize("transform", list(TRANSFORMS))
def test_agrees_with_numpy_on_raw_embeddings(kernel, transform):
    model, images = small_net(), random_images(7, 1, 8, 8)
    strength, options = (0.75, Invariance(crop_fraction=[0.75])) if transform == "zoom" else (None, None)
    phi = embedding(model, kernel)
    expected = np.mean([numpy_cosines(phi(images), phi(version(images))) for version in VERSIONS[transform]])
    found = model_invariance(model, images, transform, kernel, strength=strength, images_at_once=3)
    assert found == pytest.approx(expected, rel=1e-6)
    found = invariances(phi, images, options, images_at_once=2)[f"{transform}_invariance"]
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("output", [0, -1, "trace"])
def test_of_several_outputs_one_is_chosen(output):
    images = random_images(4, 1, 8, 8)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    # A linear layer's gradient is its input (and 1), for every output alike.
    pairs = (images, swap(images))
    rows = [torch.cat([part.flatten(1), torch.ones(4, 1)], 1).double() for part in pairs]
    factor = np.sqrt(3) if output == "trace" else 1
    expected = numpy_cosines(*(factor * part for part in rows)).mean()
    found = model_invariance(model, images, "swap", output=output, dtype=torch.float64)
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_layer_of_the_conjugate_kernel_can_be_chosen():
    images = random_images(4, 1, 8, 8)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
    rows = [part.flatten(1) for part in (images, swap(images))]
    found = model_invariance(model, images, "swap", "conjugate", layer="1", dtype=torch.float64)
    assert found == pytest.approx(numpy_cosines(*rows).mean(), rel=1e-6)


@pytest.mark.parametrize("output", [True, "mean"])
def test_an_output_that_is_none_is_refused(output):
    with pytest.raises(UserError, match="give the number of a logit"):
        Output(output)


def test_cosine_by_hand():
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 0, 0], image[0, 0, 0, 1] = 3, 4
    # Right: (3, 4) moves to columns 1 and 2, so 4 * 3 overlap; down: nothing does; swap: nothing does.
    norm = (5 + 1e-4) ** 2
    assert invariance(Pixels(), image, "shift") == pytest.approx((12 / norm + 0) / 2, rel=1e-12)
    assert invariance(Pixels(), image, "swap") == 0
    assert invariance(Pixels(), image, "zoom", 0.5) == 0  # cuts one pixel off each edge


def test_the_offset_is_added_to_each_norm():
    image = torch.full((1, 1, 4, 4), 0.25)
    # |phi| = 1e-4 on both sides: the cosine of 1 comes out as 1 / 2^2.
    assert invariance(Pixels(1e-4), image, "swap") == pytest.approx(0.25, rel=1e-6)
    assert invariance(Pixels(0.0), image, "swap") == 0


MOVED = {
    "shift_invariance": lambda x: [shift(x, 3, 0), shift(x, 0, 3)],
    "shift_1px_invariance": lambda x: [shift(x, 1, 0), shift(x, 0, 1)],
    "rotation_invariance": lambda x: [rotate(x, 0.6), rotate(x, -0.6)],
    "rotation_0.25rad_invariance": lambda x: [rotate(x, 0.25), rotate(x, -0.25)],
    "rotation_1.5rad_invariance": lambda x: [rotate(x, 1.5), rotate(x, -1.5)],
    "zoom_invariance": lambda x: [zoom(x, 0.5)],
    "zoom_0.75_invariance": lambda x: [zoom(x, 0.75)],
    "swap_invariance": lambda x: [swap(x)],
}


def test_several_strengths_have_names_of_their_own():
    images = random_images(3)
    options = Invariance(shift_px=[3, 1], angle_rad=[0.6, 0.25, 1.5], crop_fraction=[0.5, 0.75])
    found = invariances(Pixels(), images, options)
    assert found.keys() == MOVED.keys()
    for name, versions in MOVED.items():
        expected = np.mean([numpy_cosines(images.flatten(1), version.flatten(1)) for version in versions(images)])
        assert found[name] == pytest.approx(expected, rel=1e-9)
    assert invariance(Pixels(), images, "shift", 3) == pytest.approx(found["shift_invariance"], rel=1e-14)
    assert invariance(Pixels(), images, "zoom", 0.75) == pytest.approx(found["zoom_0.75_invariance"], rel=1e-14)


def test_no_strength_no_number():
    assert invariances(Pixels(), random_images(2), Invariance([], [], [])).keys() == {"swap_invariance"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_layers_agree_with_numpy_on_their_part_of_raw_jacobians(dtype):
    model, images = small_net(), random_images(5, 1, 8, 8)
    found = invariances(embedding(model, dtype=dtype), images, Invariance(crop_fraction=[0.75]), per_layer=True)
    parts = {name: (jacobian(model, images, name), jacobian(model, swap(images), name)) for name in ("0", "3", "5")}
    for name, (a, b) in parts.items():
        assert found[f"{name}/swap_invariance"] == pytest.approx(numpy_cosines(a, b).mean(), abs=1e-6)
    whole = [torch.cat([pair[i] for pair in parts.values()], dim=1) for i in (0, 1)]
    assert found["swap_invariance"] == pytest.approx(numpy_cosines(*whole).mean(), abs=1e-6)
    assert len(found) == 4 * (1 + 3)


def test_each_original_is_embedded_once_for_all_transforms():
    phi = Pixels()
    invariances(phi, random_images(5), images_at_once=2)
    assert phi.seen == 5 * (1 + 2 + 2 + 1 + 1)


def test_wide_float32_embeddings_are_summed_in_float64():
    # 2^17 + 5 columns: more than are widened at once. In float32 the sum of ones and tiny parts would lose the parts.
    class Wide(Pixels):
        def rows(self, x):
            row = torch.full((len(x), 2**17 + 5), 1e-4)
            row[:, 0] = 1 + x[:, 0, 0, 0]
            return row

    image = torch.zeros(1, 1, 2, 2)
    image[0, 0, 0, 0] = 1.0
    tail = (2**17 + 4) * float(np.float32(1e-4)) ** 2
    expected = (2 + tail) / ((math.sqrt(4 + tail) + 1e-4) * (math.sqrt(1 + tail) + 1e-4))
    assert invariance(Wide(dtype=torch.float32), image, "swap") == pytest.approx(expected, rel=1e-12)


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(1, 9), st.floats(1, 1e6), st.sampled_from(list(TRANSFORMS)))
def test_neither_blocks_nor_scale_matter(n, images_at_once, scale, transform):
    images = random_images(n, 1, 6, 5)
    how = (transform, 0.5 if transform == "zoom" else None)
    whole = invariance(Pixels(), images, *how)
    assert invariance(Pixels(), images, *how, images_at_once=images_at_once) == pytest.approx(whole, rel=1e-12)
    assert invariance(Pixels(scale), images, *how) == pytest.approx(whole, rel=1e-3)
    assert 0 <= whole <= 1


def test_sample_images_takes_a_fixed_part_in_order():
    images = torch.arange(50.0).reshape(50, 1, 1, 1)
    some = sample_images(images, 20, 0).flatten()
    assert len(torch.unique(some)) == 20
    assert torch.equal(some, some.sort().values)
    assert torch.equal(some, sample_images(images, 20, 0).flatten())
    assert not torch.equal(some, sample_images(images, 20, 1).flatten())
    assert torch.equal(sample_images(images, 51, 0), images)


def test_embeddings_are_made_in_whole_batches_and_never_held(monkeypatch):
    """Each image once, each version once; no more than a batch at a time, and layers held as pairs need them."""
    seen = []
    phi = embedding(small_net())
    block = phi.block
    monkeypatch.setattr(phi, "block", lambda x, out=None: (seen.append(len(x)), block(x, out))[1])
    monkeypatch.setattr(machine, "ON_CPU", replace(machine.ON_CPU, samples=16, few_samples=16))
    invariances(phi, random_images(40, 1, 8, 8), Invariance(crop_fraction=[0.75]))
    assert sum(seen) == 40 * 7
    assert max(seen) == 16
    assert len(seen) == 3 * 7
    assert {unit.layer: method for unit, method in phi.methods.items()}["3"] == "factors"


def test_errors_are_reported():
    with pytest.raises(UserError, match="'flip' is not known: choose one of shift, rotation, zoom, swap"):
        invariance(Pixels(), random_images(), "flip")
    with pytest.raises(UserError, match="strength=2 is not one of transform='swap': it must be left out"):
        invariance(Pixels(), random_images(), "swap", 2)
    with pytest.raises(UserError, match="strength=-1 is not one of transform='shift': it must be a number above 0"):
        invariance(Pixels(), random_images(), "shift", -1)
    with pytest.raises(UserError, match="no images"):
        invariance(Pixels(), random_images()[:0], "swap")
    with pytest.raises(UserError, match="kernel='ck' is not known"):
        model_invariance(small_net(), random_images(), "swap", "ck")
    with pytest.raises(UserError, match="kernel='rbf' has no output="):
        model_invariance(small_net(), random_images(), "swap", "rbf", output=0)


def test_any_kernel_by_its_name():
    x = random_images()
    phi = KINDS["rbf"].embedding(KernelInput(small_net(), x, "float32", torch.device("cpu")))
    assert model_invariance(small_net(), x, "shift", "rbf") == invariance(phi, x, "shift")


def test_a_zoom_that_crops_nothing_is_reported(caplog):
    Invariance().warn_of_images(28, 28)
    Invariance(crop_fraction=[0.75]).warn_of_images(8, 8)
    assert not caplog.records
    Invariance().warn_of_images(8, 8)
    assert "0.9286 cuts nothing off images of 8x8 pixels, so that this zoom invariance is left out" in caplog.text
    assert caplog.text.endswith("to measure one, give 'measure.crop_fraction=[0.75]'.\n")


def test_a_zoom_that_crops_nothing_is_not_measured():
    """Its value would be 1 at every epoch, which claims would take for a difference of 0."""
    images = random_images(4, 1, 8, 8)
    found = Invariance(crop_fraction=[13 / 14, 0.75]).of_images(Pixels(), images, per_layer=False)
    assert found["zoom_invariance"] is None
    assert found["zoom_0.75_invariance"] == invariance(Pixels(), images, "zoom", 0.75)
    assert Invariance().of_images(Pixels(), random_images(4, 1, 28, 28), per_layer=False)["zoom_invariance"] < 1


@pytest.mark.parametrize(
    ("shape", "strength", "sentence"),
    [
        ((8, 8), None, r"zoom keeps 13/14 of a side, which cuts nothing off images of 8x8: give strength=0\.75\.$"),
        ((8, 6), 0.9, r"zoom keeps 0\.9 of a side, which cuts nothing off images of 8x6: give strength=0\.75\.$"),
        ((7, 7), 0.9, r"give strength=0\.7142\.$"),
        ((3, 3), 0.9, r"these images are too small for a zoom\.$"),
    ],
)
def test_a_zoom_that_cuts_nothing_is_refused_and_the_named_one_cuts(shape, strength, sentence):
    images = random_images(4, 1, *shape)
    with pytest.raises(UserError, match=sentence) as raised:
        invariance(Pixels(), images, "zoom", strength)
    if "give strength=" in str(raised.value):
        named = float(str(raised.value).rpartition("=")[2].rstrip("."))
        assert invariance(Pixels(), images, "zoom", named) < 0.999


def test_a_shift_past_the_image_is_refused():
    Invariance(shift_px=[1, 7]).check_images(8, 9)
    with pytest.raises(UserError, match=r"measure.shift_px=8 moves 8x9 images entirely out of the frame"):
        Invariance(shift_px=[1, 8]).check_images(8, 9)


def test_a_crop_of_less_than_a_pixel_is_refused():
    Invariance(crop_fraction=[0.125]).check_images(8, 8)
    with pytest.raises(UserError, match=r"measure.crop_fraction=0.12 keeps less than one pixel .* at least 0.125"):
        Invariance(crop_fraction=[0.12]).check_images(8, 8)


def test_a_function_of_model_and_images_has_an_invariance():
    model, images = small_net(), random_images(6, 1, 8, 8)
    squared = nn.Sequential(model, Squared())
    expected = model_invariance(squared, images, "rotation", dtype=torch.float64)
    found = model_invariance(model, images, "rotation", forward=lambda m, x: m(x) ** 2, dtype=torch.float64)
    assert found == pytest.approx(expected, rel=1e-10)
    with pytest.raises(UserError, match="has no output=, layer= and forward="):
        model_invariance(model, images, "rotation", "linear", forward=lambda m, x: m(x))
    with pytest.raises(UserError, match='output="diagonal" has no single invariance'):
        model_invariance(model, images, "rotation", output="diagonal")
    with pytest.raises(UserError, match="x is a tuple: images are one tensor"):
        model_invariance(model, (images,), "rotation")


class Squared(nn.Module):
    def forward(self, x):
        return x**2
