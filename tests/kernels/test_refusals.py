"""Models that have no kernel of single samples, or no output to compute it for, are refused in one sentence."""

import pytest
import torch
import torch.nn.functional as F
from kernel_oracle import Net
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels import ntk


def vectors(n):
    return torch.rand(n, 4)


def two(**more):
    return {"a": nn.Linear(4, 4), "b": nn.Linear(4, 1), **more}


def changed_input(net, x):
    h = torch.tanh(x) * 1.0
    out = net.a(h)
    h.mul_(2)
    return net.b(torch.tanh(out + h))


def branch_of_batches(net, x):
    return net.b(net.a(x)) if x.max() < 1 else net.b(x)


REFUSED = {
    "batch-mean": (lambda s, x: s.b(torch.tanh(s.a(x - x.mean(0)))), two, vectors, "depend"),
    "earlier-samples": (lambda s, x: s.b(torch.tanh(s.a(x)).cumsum(0)), two, vectors, "depend"),
    "batch-statistics": (
        lambda s, x: s.b(s.n(s.a(x))),
        lambda: two(n=nn.BatchNorm1d(4, track_running_stats=False)),
        vectors,
        "track_running_stats",
    ),
    "batch-statistics-without-scale": (
        lambda s, x: s.b(s.n(s.a(x)).sin()),
        lambda: two(n=nn.BatchNorm1d(4, track_running_stats=False, affine=False)),
        vectors,
        "depend",
    ),
    "dropout-always": (lambda s, x: s.b(F.dropout(s.a(x), training=True)), two, vectors, "random"),
    "noise": (lambda s, x: s.b(s.a(x) + torch.randn(len(x), 4).to(x)), two, vectors, "random"),
    "tuple": (lambda s, x: (s.b(s.a(x)), x), two, vectors, "gives a tuple"),
    "dictionary": (lambda s, x: {"features": s.b(s.a(x))}, two, vectors, "gives a dict"),
    "number": (lambda s, x: s.b(s.a(x)).sum(), two, vectors, "first dimension must be the sample"),
    "positions-first-output": (lambda s, x: s.b(s.a(x)).T, two, vectors, "first dimension must be the sample"),
    "classes": (lambda s, x: s.b(s.a(x)) > 0, two, vectors, "no gradient"),
    "detached": (lambda s, x: s.b(s.a(x)).detach(), two, vectors, "does not depend|no gradient"),
    "input-changed-afterwards": (changed_input, two, vectors, "in place"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_models_without_a_kernel_are_refused_in_one_sentence(case):
    forward, parts, inputs, sentence = REFUSED[case]
    with pytest.raises(UserError, match=sentence):
        ntk(Net(forward, **parts()), inputs(6))


@pytest.mark.parametrize("n", [1, 6])
def test_dependent_samples_are_detected_next_to_a_single_one(n):
    model = Net(REFUSED["batch-mean"][0], **two())
    with pytest.raises(UserError, match="depend"):
        ntk(model, vectors(n), vectors(7 - n))


def test_a_branch_on_the_batch_is_reported():
    x = vectors(40)
    x[30] = 2
    with pytest.raises(UserError, match="branch on the data"):
        ntk(Net(branch_of_batches, **two()), x, budget_bytes=10 * 4 * 25)
