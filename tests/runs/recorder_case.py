"""A small training loop of a foreign module, with or without a Recorder."""

import dataclasses

import torch
from torch import nn
from torch.nn import functional as F

import afterkernel as ak

FEW = ["measure.gram_images=16", "measure.num_images=6", "measure.crop_fraction=[0.5]"]


class Net(nn.Module):
    """A convolution with two logits, and all that a careless evaluation would change."""

    def __init__(self, outputs=2):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)
        self.drop, self.out = nn.Dropout(0.3), nn.Linear(8, outputs)
        self.calls = 0

    def forward(self, x):
        """The logits."""
        self.calls += 1
        return self.out(self.drop(self.norm(self.conv(x)).relu()).mean((2, 3)))


def data(n, seed):
    """Images (n, 1, 6, 6), those of class 1 brighter to the right, and labels."""
    y = torch.arange(n) % 2
    x = torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    return 0.7 * x + 0.3 * y[:, None, None, None] * torch.linspace(0, 1, 6), y


def recorder(directory, **given):
    """A Recorder with few measures."""
    options = {"train": data(24, 0), "test": data(12, 1), "name": "net", "options": FEW, "steps": [0, 2, 4]} | given
    return ak.Recorder(directory, **options)


def train(recorder=None, *, steps=5, start=None, **epochs):
    """Train a network for some steps, or continue the training `start`; what is due is recorded before each step."""
    torch.manual_seed(3)
    x, y = data(24, 0)
    model, optimiser, first = start or (Net(), None, 0)
    optimiser = optimiser or torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    for step in range(first, steps):
        torch.manual_seed(100 + step)
        if recorder is not None and recorder.due(step=step):
            recorder.record(model, step=step, **{name: value(step) for name, value in epochs.items()})
        optimiser.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimiser.step()
    return model, optimiser, steps


def numbers(record):
    """A record without times, memory and provenance."""
    plain = dataclasses.asdict(record)
    for name in ("wall_s_train", "provenance", "commit", "device"):
        plain.pop(name)
    for kernel in plain["kernels"]:
        kernel.pop("resources")
    return plain
