"""No more memory than the budget and one and a half results, for all layers, outputs and entry points."""

import weakref

import pytest
import torch
from kernel_oracle import Net
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import TensorDataset

import afterkernel as ak
from afterkernel.kernels import layer_ntks, paired_ntk

MIB = 1 << 20
OUTPUTS = 12


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors made while it is entered, as long as they live, and the most at once."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self._known = set()

    def _note(self, tensor, made):
        try:
            storage = tensor.untyped_storage()
        except (RuntimeError, NotImplementedError):
            return
        key, size = storage._cdata, storage.nbytes() if made else 0
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key, size):
        self._known.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, torch.Tensor):
                self._note(leaf, made=False)
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._note(leaf, made=True)
        return result


def attention(net, x):
    return net.c(net.b(net.a(x, x, x, need_weights=False)[0]).mean(1))


MODELS = {
    # name: model, one sample's shape, budget in MiB
    "linear": (
        lambda: nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, OUTPUTS)),
        (64,),
        3,
    ),
    "tokens": (
        lambda: Net(lambda s, x: s.c(torch.relu(s.a(x)).mean(1)), a=nn.Linear(16, 64), c=nn.Linear(64, OUTPUTS)),
        (32, 16),
        5,
    ),
    "images": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, OUTPUTS),
        ),
        (3, 12, 12),
        5,
    ),
    # Attention falls back on per-example gradients, while the other layers are captured.
    "fallback": (
        lambda: Net(
            attention,
            a=nn.MultiheadAttention(32, 2, batch_first=True),
            b=nn.Linear(32, 512),
            c=nn.Linear(512, OUTPUTS),
        ),
        (8, 32),
        32,
    ),
    "one-by-one": (
        lambda: Net(lambda s, x: s.c(s.a(x)[0][:, -1]), a=nn.LSTM(8, 32, batch_first=True), c=nn.Linear(32, 5)),
        (4, 8),
        6,
    ),
}
PATHS = {
    "ntk": lambda model, x, budget: ak.ntk(model, x, output=0, budget_bytes=budget),
    "x-and-y": lambda model, x, budget: ak.ntk(model, x, x[:9].clone(), output="trace", budget_bytes=budget),
    "trace": lambda model, x, budget: ak.ntk(model, x, output="trace", budget_bytes=budget),
    "full": lambda model, x, budget: ak.ntk(model, x[:8], output="full", budget_bytes=budget),
    "float64": lambda model, x, budget: ak.ntk(model, x, output="trace", dtype="float64", budget_bytes=budget),
    "bf16": lambda model, x, budget: ak.ntk(model, x, output="trace", dtype="bf16", budget_bytes=budget),
    "diagonal": lambda model, x, budget: ak.ntk(model, x, output="diagonal", budget_bytes=budget),
    "operator": lambda model, x, budget: ak.ntk_operator(model, x, output=0, budget_bytes=budget) @ torch.ones(24, 3),
    "data-set": lambda model, x, budget: ak.ntk(model, TensorDataset(x), output=0, budget_bytes=budget),
    "layers": lambda model, x, budget: layer_ntks(model, x, output="trace", budget_bytes=budget),
    "pairs": lambda model, x, budget: paired_ntk(model, x, x.clone(), output="trace", budget_bytes=budget),
    "conjugate": lambda model, x, budget: ak.conjugate_kernel(model, x, budget_bytes=budget),
    "sketch": lambda model, x, budget: ak.sketch(model, x, 64, output="trace", budget_bytes=budget),
}


# Per-example gradients are slow to count: these meet the paths on which they differ.
SLOW, MEETS = ("fallback", "one-by-one"), ("ntk", "trace", "pairs", "bf16")


@pytest.mark.parametrize(
    ("case", "path"), [(case, path) for case in MODELS for path in PATHS if case not in SLOW or path in MEETS]
)
def test_memory_is_bounded_by_the_budget_and_the_result(case, path):
    make, shape, budget = MODELS[case]
    torch.manual_seed(0)
    model, x = make().eval(), torch.randn(24, *shape)
    with LiveBytes() as memory:
        result = PATHS[path](model, x, budget * MIB)
    parts = result.values() if isinstance(result, dict) else [result]
    assert memory.peak <= budget * MIB + 1.5 * sum(part.nbytes for part in parts)
