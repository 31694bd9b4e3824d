"""Data sets and data loaders as samples: read in order, a chunk at a time, without their labels."""

import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, Subset, TensorDataset, default_collate

import afterkernel as ak
from afterkernel.errors import UserError
from afterkernel.kernels.sample_sources import samples

N = 50
X, Y = torch.randn(N, 1, 3, 3), torch.arange(N) % 2


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 6), nn.Tanh(), nn.Linear(6, 1))


class Items(Dataset):
    """Items that a function makes, noting which are read and how many of them live at once."""

    def __init__(self, item, n=N):
        self.item, self.n, self.read, self.longest = item, n, [], 0

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return self.item(i)

    def __getitems__(self, index):
        self.longest = max(self.longest, len(index))
        self.read += index
        return [self.item(i) for i in index]


class Pixels(nn.Module):
    """A model with a name for its argument."""

    def __init__(self):
        super().__init__()
        self.inner = model()

    def forward(self, pixels):
        return self.inner(pixels)


SOURCES = {
    "inputs and labels": TensorDataset(X, Y),
    "inputs alone": TensorDataset(X),
    "inputs alone, not in a tuple": Items(lambda i: X[i]),
    "arrays with names of classes": Items(lambda i: (X[i].numpy(), "ab"[i % 2])),
    "numbers as labels": Items(lambda i: [X[i], i % 2]),
    "a loader": DataLoader(TensorDataset(X, Y), batch_size=7),
    "a loader that collates by itself": DataLoader(
        Items(lambda i: i), batch_size=7, collate_fn=lambda index: (X[index], Y[index])
    ),
    "a loader that drops nothing": DataLoader(TensorDataset(X, Y), batch_size=10, drop_last=True),
    "a part in another order": Subset(TensorDataset(X.flip(0), Y), list(range(N))[::-1]),
    "a dict with labels": (Pixels, Items(lambda i: {"pixels": X[i], "label": int(Y[i])})),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_data_set_is_the_tensor_of_its_inputs(name):
    source = SOURCES[name]
    make, source = source if isinstance(source, tuple) else (model, source)
    net = make()
    assert torch.equal(ak.ntk(net, source), ak.ntk(net, X))
    y, plain = (X[:5], X[:5]) if make is model else (source, X)
    assert torch.equal(ak.ntk(net, source, y), ak.ntk(net, X, plain))
    assert torch.equal(ak.conjugate_kernel(net, source), ak.conjugate_kernel(net, X))


def test_a_function_is_given_whole_items():
    source = TensorDataset(X, Y)

    def loss(net, batch):
        images, labels = batch
        return nn.functional.binary_cross_entropy_with_logits(net(images)[:, 0], labels.to(images), reduction="none")

    assert torch.equal(ak.ntk(model(), source, forward=loss), ak.ntk(model(), (X, Y), forward=loss))


def test_a_small_budget_reads_a_part_at_a_time(tmp_path):
    whole = torch.sin(torch.outer(torch.arange(1.0, 121), torch.arange(300.0)))
    source = Items(lambda i: (whole[i], 0), n=120)
    wide = nn.Sequential(nn.Linear(300, 20), nn.ReLU(), nn.Linear(20, 1))
    K = ak.ntk(wide, source, budget_bytes=150_000, store=tmp_path)
    assert source.longest <= 64  # the part whose fingerprint is taken at once
    assert len(source.read) > 2 * 120  # several row blocks, past which samples are read again
    torch.testing.assert_close(K, ak.ntk(wide, whole), rtol=1e-5, atol=1e-6 * K.max().item())
    assert torch.equal(ak.ntk(wide, source, budget_bytes=150_000, store=tmp_path), K)
    changed = Items(lambda i: (whole[i] * (1 + (i == 119)), 0), n=120)
    with pytest.raises(UserError, match="its data sha256 is"):
        ak.ntk(wide, changed, budget_bytes=150_000, store=tmp_path)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(X)


def padded(items):
    """Sequences of lengths 1 to 9, padded to the longest."""
    longest = max(len(item) for item in items)
    return torch.stack([nn.functional.pad(item, (0, longest - len(item))) for item in items])


REFUSED = {
    "a shuffled loader": (DataLoader(TensorDataset(X), shuffle=True), "a DataLoader with a RandomSampler"),
    "batches of one's own": (
        DataLoader(TensorDataset(X), batch_sampler=BatchSampler(range(5), 2, False)),
        "a DataLoader with a range",
    ),
    "a loader that drops": (DataLoader(TensorDataset(X), 7, drop_last=True), "drops the last 1 of 50 samples"),
    "a loader without batches": (DataLoader(TensorDataset(X), batch_size=None), "without batches"),
    "a stream": (Stream(), "x is a Stream, whose samples have no number"),
    "a loader of a stream": (DataLoader(Stream()), "x is a Stream, whose samples have no number"),
    "no samples": (TensorDataset(X[:0]), "without samples"),
    "random samples": (Items(lambda i: X[i] + torch.randn(())), "other numbers when the same sample is read again"),
    "padding to the longest": (
        DataLoader(Items(lambda i: torch.ones(1 + i % 9)), collate_fn=padded),
        r"gives samples of \(8,\) torch.float32 from number 0 on, and of \(1,\) .*: pad all samples to one shape",
    ),
    "samples of several shapes": (
        Items(lambda i: torch.ones(9 if i != 3 else 8)),
        r"can't be read at sample 0 \(RuntimeError: stack expects each tensor to be equal size.* collate_fn of a Data",
    ),
    "a label of several numbers": (TensorDataset(X, X), "2 parts that are not .input, label. with a number as label"),
    "several labels": (TensorDataset(X, Y, Y), "3 parts that are not .input, label. .* by forward=lambda model, batch"),
    "half of the samples": (
        DataLoader(TensorDataset(X), collate_fn=lambda items: default_collate(items)[0][::2][1:]),
        "x gives 0 samples for 1 items: one item is one sample",
    ),
    "what is no tensor": (Items(lambda i: object()), r"can't be read at sample 0 \(TypeError: default_collate"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_data_without_an_order_or_a_shape_is_refused(name):
    source, message = REFUSED[name]
    with pytest.raises(UserError, match=message) as raised:
        ak.ntk(model(), source)
    assert "\n" not in str(raised.value)


def test_every_chunk_has_the_shape_of_the_first():
    source = samples(Items(lambda i: torch.ones(9 if i < 40 or i % 3 else 8)))
    with pytest.raises(UserError, match=r"gives samples of \(8,\) torch.float32 from number 42 on, and of \(9,\)"):
        source[42:43]
