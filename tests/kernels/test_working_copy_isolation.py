"""The working copy fires no hooks of the user that only watch, and leaves random numbers and weights alone."""

import random

import numpy as np
import pytest
import torch
from kernel_oracle import Net, gram, relative_error
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from afterkernel.errors import UserError
from afterkernel.kernels import ntk
from afterkernel.kernels.isolation import PrivateRandomness
from afterkernel.kernels.working_copy import WorkingCopy


def two(**more):
    return {"a": nn.Linear(4, 4), "b": nn.Linear(4, 1), **more}


def vectors(n):
    return torch.rand(n, 4)


def tokens(n):
    return torch.randint(0, 7, (n, 5))


def plain(net, x):
    return net.b(torch.tanh(net.a(x)))


HOOKS = {
    "pre": lambda m, f: m.a.register_forward_pre_hook(f),
    "forward": lambda m, f: m.a.register_forward_hook(f),
    "with-kwargs": lambda m, f: m.register_forward_hook(f, with_kwargs=True),
    "backward": lambda m, f: m.a.register_full_backward_hook(f),
    "backward-pre": lambda m, f: m.a.register_full_backward_pre_hook(f),
    "tensor": lambda m, f: m.a.weight.register_hook(f),
    "state": lambda m, f: m.register_state_dict_post_hook(f),
    "all-modules": lambda m, f: register_module_forward_hook(f),
}


@pytest.mark.parametrize("place", HOOKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hooks_that_watch_do_not_fire(place, dtype):
    model, x, fired = Net(plain, **two()), vectors(5), []
    expected = gram(model, x)
    handle = HOOKS[place](model, lambda *args, **kwargs: fired.append(1))
    try:
        K = ntk(model, x, dtype=dtype)
    finally:
        handle.remove()
    assert fired == []
    assert relative_error(K, expected) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hooks_that_compute_do(dtype):
    model, x, steer = Net(plain, **two()), vectors(5), torch.rand(4)
    same = Net(lambda s, x: s.b(torch.tanh(3 * s.a(x) + steer.to(x))), a=model.a, b=model.b)
    expected = gram(same, x)
    model.a.register_forward_hook(lambda _, args, output: 3 * output + steer)
    assert relative_error(ntk(model, x, dtype=dtype), expected) < 1e-5


def test_random_numbers_are_left_alone_and_a_random_model_is_seen():
    torch.manual_seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    model = Net(lambda s, x: plain(s, x) * (1 + torch.rand(len(x), 1) + np.random.rand() + random.random()), **two())
    x = torch.linspace(0, 1, 20).reshape(5, 4)
    torch.set_rng_state(before[0])
    with pytest.raises(UserError, match="random"):
        ntk(model, x)
    after = torch.get_rng_state(), np.random.get_state()[1]
    assert torch.equal(before[0], after[0])
    assert (before[1] == after[1]).all()


def test_random_numbers_continue_where_they_ended():
    private = PrivateRandomness(torch.device("cpu"))
    before = random.getstate()  # the type checker of the tests draws such numbers in what it checks
    with private():
        first = random.random(), torch.rand(())
    with private():
        second = random.random(), torch.rand(())
    assert random.getstate() == before
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_weights_are_shared_where_they_fit_and_never_written_to():
    model = nn.Sequential(nn.Embedding(7, 4, max_norm=0.1), nn.Flatten(), nn.Linear(20, 1))
    before = model[0].weight.clone()
    shared = WorkingCopy(model, torch.float32, "cpu")
    shared.check(tokens(3))
    assert shared.inner[2].weight.data_ptr() == model[2].weight.data_ptr()
    assert shared.inner[0].weight.data_ptr() != model[0].weight.data_ptr()
    ntk(model, tokens(6))
    assert torch.equal(model[0].weight, before)
