"""Samples of any structure: tuples, dicts, nested trees, numpy arrays, and functions of (model, batch)."""

from collections import UserDict, namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernels.kernel_oracle import relative_error
from torch import nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

import afterkernel as ak
from afterkernel.errors import UserError
from afterkernel.kernels.sample_sources import samples
from afterkernel.kernels.samples import Samples

N = 20
X, IDS, MASK = torch.randn(N, 4), torch.randint(0, 7, (N, 3)), torch.rand(N, 3) > 0.3


class TwoInputs(nn.Module):
    """A model of floats, tokens and a mask, with a parameter (`scale`) that belongs to no layer."""

    def __init__(self):
        super().__init__()
        self.linear, self.tokens, self.out = nn.Linear(4, 5), nn.Embedding(7, 5), nn.Linear(5, 1)
        self.scale = nn.Parameter(torch.randn(5))

    def forward(self, x, ids, mask):
        h = (self.tokens(ids) * mask.unsqueeze(-1)).sum(1) * self.scale
        return self.out(torch.tanh(self.linear(x) + h))


def gradients(model, forward, *tensors):
    """Gradients (n, p) in float64 of `forward(model, sample)`, in a batch of one, by plain autograd."""
    model = model.double().eval()
    rows = []
    for i in range(len(tensors[0])):
        sample = [t[i : i + 1].double() if t.is_floating_point() else t[i : i + 1] for t in tensors]
        grads = torch.autograd.grad(forward(model, *sample).sum(), list(model.parameters()), materialize_grads=True)
        rows.append(torch.cat([grad.flatten() for grad in grads]))
    return torch.stack(rows)


@pytest.fixture(scope="module")
def expected():
    phi = gradients(network(), lambda model, *sample: model(*sample), X, IDS, MASK)
    return phi @ phi.T


def network():
    torch.manual_seed(0)
    return TwoInputs()


Batch = namedtuple("Batch", "x ids mask")
STRUCTURES = {
    "tuple": ((X, IDS, MASK), None),
    "named tuple": (Batch(X, IDS, MASK), None),
    "dict in another order": ({"mask": MASK, "x": X, "ids": IDS}, None),
    "another mapping": (UserDict({"x": X, "ids": IDS, "mask": MASK}), None),
    "numpy arrays": ((X.numpy(), IDS.numpy().astype(">i8")[:, ::1], MASK.numpy()), None),
    "a nested tree": (
        [X, {"tokens": (IDS, MASK), "nothing": None}],
        lambda model, batch: model(batch[0], *batch[1]["tokens"]),
    ),
    "an object with logits": ((X, IDS, MASK), lambda model, batch: SimpleNamespace(logits=model(*batch))),
    "a dict with logits": ((X, IDS, MASK), lambda model, batch: {"loss": None, "logits": model(*batch)}),
    "parts of the model": (
        (X, IDS, MASK),
        lambda m, b: m.out(torch.tanh(m.linear(b[0]) + (m.tokens(b[1]) * b[2].unsqueeze(-1)).sum(1) * m.scale)),
    ),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_structure_gives_the_kernel_of_the_model(name, expected):
    x, forward = STRUCTURES[name]
    K = ak.ntk(network(), x, forward=forward, dtype=torch.float64)
    assert relative_error(K, expected) < 1e-12
    part = samples(x, forward)[:7]
    cross = ak.ntk(network(), part.tree, x, forward=forward, dtype=torch.float64)
    assert relative_error(cross, expected[:7]) < 1e-12


def test_every_function_takes_them(expected, tmp_path):
    x, model = (X, IDS, MASK), network()
    layers = ak.kernels.layer_ntks(model, x, dtype=torch.float64)
    assert relative_error(sum(layers.values()), expected) < 1e-12
    paired = ak.kernels.paired_ntk(model, x, x)
    assert relative_error(paired, expected.diagonal()) < 1e-5
    assert ak.kernels.conjugate_layer(model, x) == "out"
    hidden = torch.tanh(model.linear(X) + (model.tokens(IDS) * MASK.unsqueeze(-1)).sum(1) * model.scale)
    assert relative_error(ak.conjugate_kernel(model, x), (hidden @ hidden.T).double()) < 1e-5
    assert relative_error(ak.conjugate_kernel(model, x, layer="out"), (hidden @ hidden.T).double()) < 1e-5


def test_a_store_knows_the_samples_of_a_tree(tmp_path):
    x, model = {"x": X, "ids": IDS, "mask": MASK}, network()
    first = ak.ntk(model, x, store=tmp_path)
    assert torch.equal(ak.ntk(model, x, store=tmp_path), first)
    other = MASK.clone()
    other[-1] = ~other[-1]
    with pytest.raises(UserError, match="its data sha256 is"):
        ak.ntk(model, {**x, "mask": other}, store=tmp_path)


def test_samples_that_depend_on_each_other_through_one_tensor_are_refused():
    class Longest(TwoInputs):
        def forward(self, x, ids, mask):
            return super().forward(x, ids, mask) * mask.sum(1).max()

    mask = torch.arange(64).unsqueeze(1) > torch.tensor([-1, 60, 60])
    with pytest.raises(UserError, match="depends on the other samples"):
        ak.ntk(Longest(), (torch.randn(64, 4), torch.randint(0, 7, (64, 3)), mask))


def residual(model, points):
    """The residual u_t - u_xx / 10 of the heat equation, which is itself a derivative."""
    points = points.detach().requires_grad_()
    (first,) = torch.autograd.grad(model(points).sum(), points, create_graph=True)
    (second,) = torch.autograd.grad(first[:, 1].sum(), points, create_graph=True)
    return first[:, 0] - 0.1 * second[:, 1]


def by_loss(model, x, labels):
    return nn.functional.cross_entropy(model(x), labels, reduction="none")


def test_residuals_of_an_equation_and_gradients_of_a_loss():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 3))
    points, labels = torch.rand(9, 2), torch.randint(0, 3, (9,))
    scalar = nn.Sequential(net, nn.Linear(3, 1))
    K = ak.ntk(scalar, points, forward=residual, dtype=torch.float64)
    phi = gradients(scalar, residual, points)
    assert relative_error(K, phi @ phi.T) < 1e-12
    K = ak.ntk(net, (points, labels), forward=lambda model, batch: by_loss(model, *batch), dtype=torch.float64)
    phi = gradients(net, by_loss, points, labels)
    assert relative_error(K, phi @ phi.T) < 1e-12


def constant(model, batch):
    return network()(*batch)


REFUSED = {
    "lengths that differ": (
        (X, IDS[:3]),
        None,
        r"x\[0\] has shape \(20, 4\) and x\[1\] \(3, 3\): all tensors of x have the samples as first dimension",
    ),
    "a constant": ((X, 3), None, r"x\[1\] is an int, not a tensor of samples: .* put it into forward="),
    "a list": ([X, IDS], None, "x is a list: give a tensor, a tuple .* with forward=lambda model, batch: tensor"),
    "words": ({"x": np.array(["a"])}, None, r"x\['x'\] is an array of <U1: give an array of numbers"),
    "no tensor": ((), None, "x is a tuple that holds no tensor"),
    "another name": (
        {"x": X, "tokens": IDS},
        None,
        r"can't be run on these samples \(TypeError: .*unexpected keyword argument 'tokens'\)\.$",
    ),
    "another model": ((X, IDS, MASK), constant, "no NTK: forward has to use the model that it is given"),
    "outputs in a tuple": (
        (X, IDS, MASK),
        lambda model, batch: (model(*batch), None),
        r"the model gives a tuple, .* give forward=lambda model, batch: tensor, .* lambda model, x: model\(x\)\[0\]\.$",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_batch(name):
    x, forward, message = REFUSED[name]
    with pytest.raises(UserError, match=message) as raised:
        ak.ntk(network(), x, forward=forward)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_function_that_uses_the_model_itself_in_part_is_refused(dtype):
    model = network().to(dtype)
    x = (X.to(dtype), IDS, MASK)
    with pytest.raises(UserError, match=r"depends on \w+.\w+ of the model itself, .* forward has to use the model"):
        ak.ntk(model, x, forward=lambda given, batch: given(*batch) + model(*batch), dtype=dtype)


def test_y_has_the_structure_of_x():
    with pytest.raises(UserError, match=r"x holds x\[0\], x\[1\], x\[2\] and y y\['x'\]: give y in the structure of x"):
        ak.ntk(network(), (X, IDS, MASK), {"x": X})
    with pytest.raises(
        UserError, match=r"y has samples of shape \(5,\), \(3,\), \(3,\), which the model does not take"
    ):
        ak.ntk(network(), (X, IDS, MASK), (torch.zeros(N, 5), IDS, MASK))


leaves = st.integers(1, 3).map(lambda width: torch.arange(4.0 * width).reshape(4, width))
trees = st.recursive(
    leaves | st.none(), lambda inner: st.lists(inner, min_size=1, max_size=3) | st.tuples(inner, inner)
)


@given(trees, st.lists(st.integers(0, 3), max_size=6))
def test_a_batch_is_cut_as_its_tensors_are_and_is_a_pytree(tree, index):
    batch = Samples(tree)
    if not batch.tensors:
        return
    chosen = batch[index]
    assert (len(chosen), len(batch[1:3])) == (len(index), 2)
    for mine, whole in zip(chosen.tensors, batch.tensors, strict=True):
        assert torch.equal(mine, whole[index])
    flat, spec = tree_flatten(batch)
    again = tree_unflatten(flat, spec)
    assert [id(t) for t in again.tensors] == [id(t) for t in flat]
    doubled = tree_map(lambda leaf: leaf * 2, batch)
    assert all(torch.equal(a, 2 * b) for a, b in zip(doubled.tensors, batch.tensors, strict=True))
