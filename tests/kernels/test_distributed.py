"""Two processes of `torch.distributed` share the row blocks; both end with the whole matrices of one process."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from kernel_oracle import gram, relative_error
from torch import nn

from afterkernel.kernels import embedding, train_test_grams
from afterkernel.kernels.computation import share, slices

N, M, WORLD = 29, 7, 2
HELD = (4, 16, 1000)


def network():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv1d(2, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(32, 8), nn.Tanh(), nn.Linear(8, 1)
    )


def data():
    torch.manual_seed(2)
    return torch.rand(N, 2, 8), torch.rand(M, 2, 8)


def compute(held, store=None):
    model, (x, y) = network(), data()
    numbers = sum(p.numel() for p in model.parameters())
    phi = embedding(model, dtype="float64")
    grams = train_test_grams(phi, x, y, budget_bytes=held * numbers * 8, store=store)
    return grams.train.clone(), grams.test.clone()


def work(rank, folder):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    results = {}
    for held in HELD:
        results[f"{held}"] = compute(held)
        results[f"{held}, stored"] = compute(held, folder / f"store-{held}")
        results[f"{held}, stored again"] = compute(held, folder / f"store-{held}")
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_every_process_ends_with_the_matrices_of_one(tmp_path):
    mp.spawn(work, args=(tmp_path,), nprocs=WORLD)
    model, (x, y) = network(), data()
    expected, expected_test = gram(model, x), gram(model, y, x)
    wrong = [
        (rank, case)
        for rank in range(WORLD)
        for case, (train, test) in torch.load(tmp_path / f"{rank}.pt", weights_only=True).items()
        if not (
            relative_error(train, expected) < 1e-12
            and relative_error(test, expected_test) < 1e-12
            and torch.equal(train, train.T)
        )
    ]
    assert not wrong


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_every_block_is_shared_out_once(world, monkeypatch):
    blocks = list(slices(0, 103, 4))
    shares = []
    for rank in range(world):
        monkeypatch.setattr("afterkernel.kernels.computation.processes", lambda rank=rank: (rank, world))
        shares.append(share(blocks))
    assert sorted(b.start for part in shares for b in part) == [b.start for b in blocks]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
