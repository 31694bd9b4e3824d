"""`store=`: a killed computation continues where it stopped; stale, foreign or damaged tiles are never used."""

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from kernel_oracle import gram, relative_error
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels import embedding, layer_ntks, ntk, train_test_grams
from afterkernel.kernels.computation import GramComputation
from afterkernel.kernels.store import TileStore

N, M = 37, 11
SAMPLE_BYTES = (4 * 8 + 8 + 8 + 1) * 8


def network(activation=nn.Tanh):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), activation(), nn.Linear(8, 1))


def data():
    torch.manual_seed(2)
    return torch.rand(N, 4), torch.rand(M, 4)


def compute(store, samples_held=24, dtype="float64"):
    x, y = data()
    phi = embedding(network(), dtype=dtype)
    return train_test_grams(phi, x, y, budget_bytes=samples_held * SAMPLE_BYTES, dtype=dtype, store=store)


def killed_after(store, marks, threads):
    """In a child process: compute, and die by SIGKILL once so many tiles are marked."""
    torch.set_num_threads(threads)
    real = TileStore.mark

    def mark(self, cells):
        nonlocal marks
        real(self, cells)
        marks -= 1
        if marks == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    TileStore.mark = mark
    compute(store)


@pytest.fixture(scope="module")
def half_done(tmp_path_factory):
    """A store whose process was killed."""
    folder = tmp_path_factory.mktemp("killed") / "store"
    child = multiprocessing.get_context("spawn").Process(target=killed_after, args=(folder, 7, torch.get_num_threads()))
    child.start()
    child.join(timeout=300)
    assert child.exitcode == -signal.SIGKILL
    return folder


@pytest.fixture
def collected(monkeypatch):
    """Numbers of samples that are collected, as they are."""
    counts = []
    real = GramComputation._collect

    def collect(self, x, part, what, out):
        counts.append(part.stop - part.start)
        return real(self, x, part, what, out)

    monkeypatch.setattr(GramComputation, "_collect", collect)
    return counts


@pytest.fixture
def whole(tmp_path):
    return compute(tmp_path / "whole")


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


@pytest.mark.parametrize("samples_held", [24, 60, 1000])
def test_the_result_is_that_without_a_store(tmp_path, samples_held):
    x, y = data()
    grams = compute(tmp_path / "store", samples_held)
    plain = compute(None, samples_held)
    assert torch.equal(grams.train, plain.train)
    assert torch.equal(grams.test, plain.test)
    assert relative_error(grams.train, gram(network(), x)) < 1e-12
    assert relative_error(grams.test, gram(network(), y, x)) < 1e-12


def test_every_kernel_can_be_stored(tmp_path):
    x, y = data()
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    for name, arguments in {"xy": (x, y), "x": (x,)}.items():
        for output in (1, "trace"):
            folder = tmp_path / f"{name}-{output}"
            for _ in range(2):
                K = ntk(model, *arguments, output=output, store=folder)
                assert torch.equal(K, ntk(model, *arguments, output=output))
    plain = layer_ntks(model, x, output=0)
    for _ in range(2):
        layers = layer_ntks(model, x, output=0, store=tmp_path / "layers")
        assert all(torch.equal(layers[name], plain[name]) for name in plain)


def test_a_complete_store_is_read_alone(tmp_path, whole, collected):
    before = files(tmp_path / "whole")
    again = compute(tmp_path / "whole")
    assert not collected
    assert torch.equal(again.train, whole.train) and torch.equal(again.test, whole.test)  # noqa: PT018
    assert again.relative_error == whole.relative_error is not None
    assert files(tmp_path / "whole") == before


def test_a_killed_computation_continues_and_ends_bit_for_bit_the_same(half_done, tmp_path, collected):
    folder = shutil.copytree(half_done, tmp_path / "store")
    whole = compute(tmp_path / "whole")
    of_whole = sum(collected)
    collected.clear()
    grams = compute(folder)
    assert torch.equal(grams.train, whole.train) and torch.equal(grams.test, whole.test)  # noqa: PT018
    assert 0 < sum(collected) < of_whole - 3 * whole.plan.columns_per_chunk
    collected.clear()
    compute(folder)
    assert not collected


@pytest.mark.parametrize("samples_held", [9, 13, 60, 1000])
def test_another_budget_continues_or_is_refused(half_done, tmp_path, samples_held):
    folder = shutil.copytree(half_done, tmp_path / "store")
    before = files(folder)
    if samples_held < 12:
        with pytest.raises(UserError, match="too small to continue with a store begun in tiles"):
            compute(folder, samples_held)
        assert files(folder) == before
    else:
        (x, y), grams = data(), compute(folder, samples_held)
        assert relative_error(grams.train, gram(network(), x)) < 1e-12
        assert relative_error(grams.test, gram(network(), y, x)) < 1e-12


def other_jobs():
    x, y = data()
    weights, frozen, data_of_it = network(), network(), x.clone()
    weights[2].bias.data += 1
    frozen[0].bias.requires_grad_(False)
    data_of_it[5, 1] += 1
    return {
        "weights": lambda store: ntk(weights, x, store=store),
        "data": lambda store: ntk(network(), data_of_it, store=store),
        "fewer": lambda store: ntk(network(), x[:-1], store=store),
        "dtype": lambda store: ntk(network(), x, dtype=torch.float64, store=store),
        "bf16": lambda store: ntk(network(), x, dtype="bf16", store=store),
        "tf32": lambda store: ntk(network(), x, dtype="tf32", store=store),
        "tf32x3": lambda store: ntk(network(), x, dtype="tf32x3", store=store),
        "per-layer": lambda store: layer_ntks(network(), x, store=store),
        "against-others": lambda store: ntk(network(), x, y, store=store),
        "frozen-bias": lambda store: ntk(frozen, x, store=store),
        "activation": lambda store: ntk(network(nn.ReLU), x, store=store),
    }


@pytest.mark.parametrize("other", other_jobs())
def test_another_job_is_refused_and_the_store_untouched(tmp_path, other):
    folder = tmp_path / "store"
    ntk(network(), data()[0], store=folder)
    before = files(folder)
    with pytest.raises(UserError, match=r"tiles of another job: its .* is .* name another folder"):
        other_jobs()[other](folder)
    assert files(folder) == before


@pytest.mark.parametrize("output", [1, -1, "trace"])
def test_another_output_is_another_job(tmp_path, output):
    model, x = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), data()[0]
    ntk(model, x, output=0, store=tmp_path / "store")
    with pytest.raises(UserError, match="tiles of another job"):
        ntk(model, x, output=output, store=tmp_path / "store")


DAMAGE = {
    "matrix-truncated": ("train.npy", lambda path: path.write_bytes(path.read_bytes()[:300])),
    "matrix-empty": ("train.npy", lambda path: path.write_bytes(b"")),
    "matrix-header": ("test.npy", lambda path: path.write_bytes(b"x" * 999)),
    "matrix-gone": ("test.npy", lambda path: path.unlink()),
    "marks-truncated": ("done.npy", lambda path: path.write_bytes(path.read_bytes()[:-3])),
    "marks-gone": ("done.npy", lambda path: path.unlink()),
    "manifest-truncated": ("manifest.json", lambda path: path.write_text(path.read_text()[:40])),
    "manifest-binary": ("manifest.json", lambda path: path.write_bytes(b"\xff\xfe\x00")),
    "manifest-list": ("manifest.json", lambda path: path.write_text("[]")),
    "manifest-gone": ("manifest.json", lambda path: path.unlink()),
    "manifest-cell": (
        "manifest.json",
        lambda path: path.write_text(path.read_text().replace('_a_cell": ', '_a_cell": -')),
    ),
    "format": (
        "manifest.json",
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99})),
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_store_is_reported_and_left_unchanged(tmp_path, whole, damage):
    folder = tmp_path / "whole"
    name, spoil = DAMAGE[damage]
    spoil(folder / name)
    before = files(folder)
    with pytest.raises(UserError, match=r"store=|remove"):
        compute(folder)
    assert files(folder) == before


def test_a_folder_of_other_things_and_a_file_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds notes\.txt but no manifest\.json"):
        compute(tmp_path)
    assert files(tmp_path) == {"notes.txt": b"mine"}
    with pytest.raises(UserError, match="store="):
        compute(tmp_path / "notes.txt")
