"""This package against TensorFlow on the same weights and images (tensorflow.npz, made by make_tensorflow.py)."""

from pathlib import Path

import numpy as np
import pytest
import torch

import afterkernel as ak

TRANSFORMS = ("shift", "rotation", "zoom", "swap")
KERNELS = {"ntk": ak.ntk, "conjugate": ak.conjugate_kernel}


@pytest.fixture(scope="module")
def reference():
    with np.load(Path(__file__).with_name("tensorflow.npz")) as file:
        return dict(file)


def channels_first(images):
    return torch.from_numpy(np.moveaxis(images, -1, -3).copy())


@pytest.fixture(params=["vgg", "mlp"])
def case(request, reference):
    """Name, our network with TensorFlow's weights, and the images."""
    name = request.param
    network = getattr(ak.models, name)((1, 28, 28), width={"vgg": 4, "mlp": 5}[name])
    for index, parameter in enumerate(network.parameters()):
        weight = torch.from_numpy(reference[f"{name}/weight/{index}"])
        if weight.ndim == 4:
            weight = weight.permute(3, 2, 0, 1)
        elif name == "vgg" and weight.ndim == 2:  # features counted as (h, w, c) there, as (c, h, w) here
            weight = weight.reshape(7, 7, 8).permute(2, 0, 1).reshape(1, -1)
        elif weight.ndim == 2:
            weight = weight.T
        parameter.data.copy_(weight)
    return name, network, channels_first(reference["images"])


@pytest.mark.parametrize("kernel", list(KERNELS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gram_matrices(case, kernel, dtype, reference):
    name, network, x = case
    expected = reference[f"{name}/{kernel}/gram"]
    K = KERNELS[kernel](network, x, dtype=dtype).numpy()
    assert np.abs(K - expected).max() / np.abs(expected).max() < 2e-6


@pytest.mark.parametrize("kernel", list(KERNELS))
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_invariances(case, kernel, transform, reference):
    name, network, x = case
    expected = reference[f"{name}/{kernel}/{transform}"].item()
    assert ak.invariance(network, x, transform, kernel) == pytest.approx(expected, abs=1e-6)


def test_alignment_and_effective_rank(case, reference):
    name, network, x = case
    K, C = ak.ntk(network, x), ak.conjugate_kernel(network, x)
    assert ak.alignment(K, C) == pytest.approx(reference[f"{name}/alignment"].item(), abs=1e-6)
    for kernel, gram in (("ntk", K), ("conjugate", C)):
        assert ak.effective_rank(gram) == pytest.approx(reference[f"{name}/{kernel}/effective_rank"].item(), rel=1e-5)


def test_resampled_images(reference):
    x = channels_first(reference["images"])
    ours = {
        "shift": [ak.transforms.shift(x, 1, 0), ak.transforms.shift(x, 0, 1)],
        "rotation": [ak.transforms.rotate(x, 0.25), ak.transforms.rotate(x, -0.25)],
        "zoom": [ak.transforms.zoom(x)],
        "swap": [ak.transforms.swap(x)],
    }
    for transform, versions in ours.items():
        torch.testing.assert_close(
            torch.stack(versions), channels_first(reference[f"image/{transform}"]), rtol=0, atol=1e-6
        )
