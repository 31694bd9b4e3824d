"""Tiles of any size make the same matrix, on any device."""

import pytest
import torch
from kernel_oracle import force_method, full_gram, gram, relative_error, set_batch_sizes
from torch import nn

from afterkernel.errors import UserError
from afterkernel.kernels import embedding, layer_ntks, ntk, train_test_grams
from afterkernel.kernels import plan as plan_module
from afterkernel.kernels.tiles import TOTAL, TileWriter, fill


def network():
    first = [nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Tanh(), nn.Conv2d(4, 3, 3, stride=2), nn.Tanh()]
    return nn.Sequential(*first, nn.Flatten(), nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 1))


def images(n):
    return torch.rand(n, 2, 5, 5)


@pytest.mark.parametrize("method", ["gradients", "factors"])
@pytest.mark.parametrize("columns", [2, 512])
@pytest.mark.parametrize("rows_at_once", [4, 1024])
def test_tiles_of_any_size_make_the_same_matrix(monkeypatch, columns, rows_at_once, method):
    force_method(monkeypatch, method)
    set_batch_sizes(monkeypatch, columns=columns, rows=rows_at_once)
    model, x, y = network(), images(9), images(3)
    expected, expected_test = gram(model, x), gram(model, y, x)
    for budget in (16_000, 1 << 30):
        phi = embedding(model, dtype=torch.float64)
        grams = train_test_grams(phi, x, y, budget_bytes=budget, per_layer=True)
        assert torch.equal(grams.train, grams.train.T)
        assert relative_error(grams.train, expected) < 1e-12
        assert relative_error(grams.test, expected_test) < 1e-12
        for number in (0, 1):
            total = sum(parts[number] for parts in grams.layers.values())
            assert relative_error(total, (expected, expected_test)[number]) < 1e-12
        assert all(torch.equal(train, train.T) for train, _ in grams.layers.values())


@pytest.mark.parametrize("rows_per_strip", [1, 5, 128])
@pytest.mark.parametrize("output", [0, "full"])
def test_strips_of_any_height_make_the_same_matrix(monkeypatch, rows_per_strip, output):
    monkeypatch.setattr(plan_module, "ROWS_PER_STRIP", rows_per_strip)
    set_batch_sizes(monkeypatch, columns=14)
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(50, 4), nn.Tanh(), nn.Linear(4, 2)), images(11)
    K = ntk(model, x, output=output, dtype=torch.float64)
    expected = full_gram(model, x)
    assert relative_error(K, expected if output == "full" else expected[..., 0, 0]) < 1e-12


def test_a_tile_replaces_what_was_there():
    phi = embedding(network(), dtype=torch.float64)
    block = phi.block(images(4))
    out = {name: torch.full((4, 4), torch.nan, dtype=torch.float64) for name in (TOTAL, *block.layers)}
    fill(block, block, out, 1)
    assert relative_error(out[TOTAL], sum(out[name] for name in block.layers)) < 1e-12


@pytest.mark.parametrize("per_layer", [False, True])
def test_tiles_that_are_staged_end_as_those_that_are_not(monkeypatch, per_layer):
    set_batch_sizes(monkeypatch, columns=3)
    model, x, y = network(), images(14), images(5)

    def compute():
        phi = embedding(model, dtype=torch.float64)
        return train_test_grams(phi, x, y, budget_bytes=30_000, per_layer=per_layer, result_device="cpu")

    direct = compute()
    real = TileWriter.__init__

    def staged(self, *args):
        real(self, *args)
        self._direct = False

    monkeypatch.setattr(TileWriter, "__init__", staged)
    found = compute()
    assert torch.equal(found.train, direct.train)
    assert torch.equal(found.test, direct.test)
    assert found.layers.keys() == direct.layers.keys()
    assert all(torch.equal(found.layers[name][0], direct.layers[name][0]) for name in direct.layers)


def test_a_mirrored_tile_is_written_twice():
    block = embedding(network(), dtype=torch.float64).block(images(7))
    for direct in (True, False):
        matrix = torch.zeros(7, 7, dtype=torch.float64)
        place = TileWriter({TOTAL: matrix}, torch.device("cpu"), torch.float64)
        place._direct = direct
        place.write(block[4:7], block[0:4], slice(4, 7), slice(0, 4), 1, mirrored=True)
        place.settle()
        assert torch.equal(matrix[:4, 4:], matrix[4:, :4].T)
        assert bool((matrix[4:, :4] != 0).all())
        assert not matrix[:4, :4].any()
        assert not matrix[4:, 4:].any()


on_gpu = pytest.mark.gpu


@on_gpu
@pytest.mark.parametrize("method", ["gradients", "factors"])
@pytest.mark.parametrize(
    ("dtype", "bar"), [("float64", 1e-12), ("float32", 1e-5), ("tf32", 3e-3), ("tf32x3", 2e-6), ("bf16", 1e-2)]
)
@pytest.mark.parametrize("result_device", [None, "cpu"])
def test_a_gpu_equals_the_oracle(monkeypatch, method, dtype, bar, result_device):
    force_method(monkeypatch, method)
    set_batch_sizes(monkeypatch, columns=7)
    model, x, y = network(), images(40), images(9)
    expected, expected_test = gram(model, x), gram(model, y, x)
    for budget in (60_000, 1 << 30):
        phi = embedding(model, dtype=dtype, device="cuda")
        grams = train_test_grams(
            phi, x, y, budget_bytes=budget, dtype=dtype, per_layer=True, result_device=result_device
        )
        assert grams.train.device.type == (result_device or "cuda")
        assert relative_error(grams.train.cpu(), expected) < bar
        assert relative_error(grams.test.cpu(), expected_test) < bar
        assert torch.equal(grams.train, grams.train.T)
        assert relative_error(sum(train for train, _ in grams.layers.values()).cpu(), expected) < bar
        assert grams.relative_error < bar


@on_gpu
def test_a_gpu_gives_the_kernels_of_layers_and_outputs():
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(50, 8), nn.Tanh(), nn.Linear(8, 3)), images(9)
    layers = layer_ntks(model, x, output="trace", dtype=torch.float64, device="cuda")
    whole = ntk(model, x, output="full", dtype=torch.float64, device="cuda")
    assert relative_error(sum(layers.values()).cpu(), whole.diagonal(dim1=2, dim2=3).sum(-1).cpu()) < 1e-12


@on_gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gpu_fills_a_store(tmp_path, dtype):
    model, x = network(), images(30)
    for _ in range(2):
        K = ntk(model, x, dtype=dtype, device="cuda", store=tmp_path / "store", budget_bytes=60_000)
        assert relative_error(K, gram(model, x)) < 1e-5


@on_gpu
def test_a_result_on_the_device_of_the_products_needs_no_staging():
    matrix = torch.zeros(3, 3, device="cuda")
    assert TileWriter({TOTAL: matrix}, torch.device("cuda"), torch.float32)._direct


@on_gpu
def test_a_gpu_names_the_sample_that_is_not_finite():
    x = images(30)
    x[21, 0, 0, 0] = torch.nan
    with pytest.raises(UserError, match="sample 21 is not finite in layer"):
        ntk(network(), x, device="cuda", budget_bytes=60_000)
