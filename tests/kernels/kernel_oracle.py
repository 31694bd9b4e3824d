"""The reference for the kernels: per-example autograd in float64, one sample at a time; and small helpers."""

import copy
import dataclasses

import torch
from torch import nn

from afterkernel.kernels import collect, machine
from afterkernel.kernels.plan import LayerPlan, costs


class Net(nn.Module):
    """A forward pass written as a function of the network and its input; what it uses is given by name."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def scalar(h):
    """One number per sample, with a gradient that differs at every place."""
    h = h.flatten(1)
    return torch.sin(h) @ torch.cos(torch.arange(h.shape[1])).to(h)


def gradients(model, x):
    """Gradients (n, k, p) in float64 of every output, one sample and output at a time, by plain autograd."""
    model = copy.deepcopy(model).double().eval()
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for sample in x.double() if x.is_floating_point() else x:
        outputs = model(sample[None]).flatten()
        grads = [
            torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
            for value in outputs
        ]
        dense = [[g.to_dense() if g.is_sparse else g for g in row] for row in grads]
        rows.append(torch.stack([torch.cat([g.flatten() for g in row]) for row in dense]))
    return torch.stack(rows)


def full_gram(model, x, y=None):
    """The kernel of every pair of outputs, (n, m, k, k)."""
    left = gradients(model, x)
    right = left if y is None else gradients(model, y)
    return torch.einsum("nkp,mlp->nmkl", left, right)


def gram(model, x, y=None):
    """The kernel of a network with one output, (n, m)."""
    return full_gram(model, x, y)[..., 0, 0]


def relative_error(K, expected, scale=None):
    """The largest difference relative to the largest entry (of `scale` where that is given)."""
    assert K.shape == expected.shape
    return ((K.double() - expected).abs().max() / (expected if scale is None else scale).abs().max()).item()


def set_batch_sizes(monkeypatch, **numbers):
    """Make the engine use other batch sizes, on CPUs and GPUs alike."""
    for name in ("ON_CPU", "ON_GPU"):
        monkeypatch.setattr(machine, name, dataclasses.replace(getattr(machine, name), **numbers))


def force_method(monkeypatch, method):
    """Use `method` for every layer that supports it, at any cost."""

    def choose(layer, shape, outputs, elementwise):
        found = costs(shape, outputs, elementwise)
        return LayerPlan(layer, next((cost for cost in found if cost.method == method), found[0]), "forced")

    monkeypatch.setattr(collect, "choose", choose)
