"""A small problem and network, with raw embeddings by plain autograd in float64, and the numbers that they make."""

import copy

import numpy as np
import torch
from torch import nn

from afterkernel.data import Problem
from afterkernel.kernels import embedding
from afterkernel.measures import Context, measure_all, measure_options

OFFSET = 1e-4


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 4 * 4, 16), nn.ReLU(), nn.Linear(16, 1)
    )


LAYERS = ("0", "3", "5")


def problem(n_train=40, n_test=17, seed=0):
    """Two classes that differ in the brightness of their upper half."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n_train + n_test, 1, 6, 6, generator=generator)
    y = torch.arange(n_train + n_test) % 2
    x[:, :, :3] += 0.6 * y[:, None, None, None]
    return Problem(x[:n_train], y[:n_train], x[n_train:], y[n_train:], "dark", "bright")


def jacobian(model, images, layer=None):
    """(n, p) in float64: gradients of the output, of one layer or of all."""
    model = copy.deepcopy(model).double()
    parameters = list((model if layer is None else model.get_submodule(layer)).parameters())
    rows = [torch.autograd.grad(model(x[None].double()).squeeze(), parameters) for x in images]
    return torch.stack([torch.cat([grad.flatten() for grad in row]) for row in rows]).numpy()


def features(model, images):
    """(n, width) in float64: the input of the last layer."""
    return copy.deepcopy(model).double()[:-1](images.double()).detach().numpy()


RAW = {"ntk": jacobian, "conjugate": features}


def normed(model, given, name):
    """Embeddings of the training and test images, divided by Z, and Z."""
    train, test = RAW[name](model, given.x_train), RAW[name](model, given.x_test)
    Z = OFFSET + np.linalg.norm(train, axis=1).mean()
    return train / Z, test / Z, Z


def cosine(A, B):
    return (A * B).sum() / np.sqrt((A * A).sum() * (B * B).sum())


def centred(K):
    H = np.eye(len(K)) - 1 / len(K)
    return H @ K @ H


def cka(A, B):
    return cosine(centred(A), centred(B))


def context(model, given, epoch=0, state=None, kernels=("ntk", "conjugate"), dtype="float64", **options):
    """A snapshot's context with its kernels added, as the evaluation of a run adds them."""
    made = Context(measure_options(**options), given, epoch, state, dtype=dtype)
    for name in kernels:
        phi = embedding(model, name, dtype=dtype)
        train, test, Z = normed(model, given, name)
        kind = phi.dtype
        made.add(name, phi, torch.from_numpy(train @ train.T).to(kind), torch.from_numpy(test @ train.T).to(kind), Z)
    return made


def measured(*arguments, **keywords):
    return measure_all(context(*arguments, **keywords))
