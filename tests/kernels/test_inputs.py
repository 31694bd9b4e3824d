"""Inputs that are not a model or not samples: one clear sentence in place of an error from torch."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import afterkernel as ak
from afterkernel.errors import UserError


def model():
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 1))


INPUTS = {
    "number": (torch.tensor(1.0), "x is a single number: its first dimension must be the sample"),
    "bytes": (torch.zeros(3, 1, 2, 2, dtype=torch.uint8), r"x is of torch.uint8.*x\.float\(\) / 255 for pixels\.$"),
    "none": (torch.rand(0, 1, 2, 2), "at least one sample|no images"),
}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("call", [ak.ntk, ak.conjugate_kernel, lambda m, x: ak.invariance(m, x, "swap")])
def test_what_is_no_batch_of_samples(name, call):
    x, message = INPUTS[name]
    with pytest.raises(UserError, match=message) as raised:
        call(model(), x)
    assert "\n" not in str(raised.value)


# In a separate process, without the tests' checks of types, which would fail first.
OTHER_TYPES = """
import numpy as np, torch, afterkernel as ak
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 1))
for call in (ak.ntk, ak.conjugate_kernel, lambda m, x: ak.invariance(m, x, "swap")):
    for arguments in ((model, [[1.0]]), (model, "x"), (model, np.zeros((3, 4), object)), (torch.rand(3), 1)):
        try:
            call(*arguments)
        except ak.UserError as error:
            print(error)
"""


def test_other_types_than_a_module_and_tensors():
    done = subprocess.run([sys.executable, "-c", OTHER_TYPES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    messages = [
        f"x is a {kind}: give a tensor, a tuple of the model's positional arguments, a dict of its keyword arguments, "
        "or any pytree of tensors with forward=lambda model, batch: tensor."
        for kind in ("list", "str")
    ]
    messages.append("x is an array of object: give an array of numbers.")
    messages.append("the first argument is a Tensor, not a torch.nn.Module: give model, then x.")
    assert done.stdout.splitlines() == 3 * messages


def test_images_of_two_dimensions():
    with pytest.raises(UserError, match=r"x has shape \(3, 4\): images are \(n, c, h, w\)"):
        ak.invariance(model(), torch.rand(3, 4), "swap")


def test_tokens_and_a_model_that_scales_bytes_itself_are_fine():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model()

        def forward(self, x):
            return self.inner(x / 255)

    x = torch.randint(0, 255, (3, 1, 2, 2), dtype=torch.uint8)
    scaled = Scaled()
    torch.testing.assert_close(ak.ntk(scaled, x), ak.ntk(scaled.inner, x / 255))
    tokens = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 1))
    assert ak.ntk(tokens, torch.randint(0, 5, (4, 2))).shape == (4, 4)
