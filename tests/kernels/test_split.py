"""Float32 products by three products of TF32 numbers: float32's digits, which one product of TF32 numbers loses."""

import pytest
import torch
from kernel_oracle import gram, relative_error
from torch import nn

import afterkernel as ak
from afterkernel.kernels import contract, cross_grams, embedding, ntk, split, train_test_grams
from afterkernel.kernels.precision import exact_products

BAR = 2e-6  # of the largest entry


def numbers(n, p):
    """Sizes of columns and of single numbers vary over many orders."""
    return torch.randn(n, p) * torch.exp(2 * torch.randn(p)) * torch.exp(2 * torch.randn(n, p))


def split_products(rows, columns):
    out = torch.zeros(len(rows), len(columns), device=rows.device)
    with exact_products(split=True):
        contract.add_gradient_products(rows, columns, out)
    return out


def error(found, rows, columns):
    return relative_error(found.double().cpu(), rows.double().cpu() @ columns.double().cpu().T)


@pytest.mark.parametrize("p", [7, 700, 40_000])
def test_split_products_are_those_of_float64_and_one_product_of_tf32_is_not(p):
    torch.manual_seed(p)
    rows, columns = numbers(9, p), numbers(12, p)
    assert error(split_products(rows, columns), rows, columns) <= BAR
    hi, others = split.rounded_to_tf32(rows), split.rounded_to_tf32(columns)
    assert error(hi.double() @ others.double().T, rows, columns) >= 1e-4


def test_sums_over_many_numbers_of_one_sign_keep_their_digits():
    torch.manual_seed(0)
    rows, columns = torch.rand(20, 300_000), torch.rand(30, 300_000)
    assert error(split_products(rows, columns), rows, columns) <= BAR


def test_numbers_are_split_into_two_of_tf32():
    a = numbers(50, 1000)
    a[0, :4] = torch.tensor([0.0, -0.0, 1.0 + 2**-11, -1e-30])
    hi, lo = split.split(a)
    for part in (hi, lo):
        assert not (part.view(torch.int32) & 0x1FFF).any()
    left = a.double() - hi.double()
    assert bool((left.abs() <= 2**-11 * a.double().abs()).all())
    assert bool(((left - lo.double()).abs() <= 2**-22 * a.double().abs()).all())
    assert float(lo.abs().max()) > 0


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 3e38])
def test_what_is_not_a_number_of_tf32_stays_visible(value):
    rows = torch.ones(2, 300)
    rows[0, 7] = value
    found = split_products(rows, rows)
    assert not bool(torch.isfinite(found[0]).any())
    assert found[1, 1] == 300


@pytest.mark.parametrize(("summed", "numbers_at_once"), [(1, 1), (3, 100), (64, 1 << 22)])
def test_pieces_make_no_difference(monkeypatch, summed, numbers_at_once):
    rows, columns = numbers(5, 301), numbers(8, 301)
    monkeypatch.setattr(split, "SUMMED", summed)
    monkeypatch.setattr(split, "SPLIT", numbers_at_once)
    assert error(split_products(rows, columns), rows, columns) <= BAR


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 300), nn.Tanh(), nn.Linear(300, 1))


@pytest.mark.parametrize("method", ["gradients", "factors", "expanded"])
def test_every_way_of_multiplying_is_split(monkeypatch, method):
    (a, g), (b, h) = ((torch.randn(n, 1, 3, 20), torch.randn(n, 1, 1, 3, 30)) for n in (4, 6))
    add = {"factors": contract.add_factor_products, "expanded": contract.add_expanded_products}.get(method)
    calls = []

    def counted(*given):
        calls.append(given)
        split.add_split_products(*given)

    monkeypatch.setattr(contract, "add_split_products", counted)
    rows, columns = contract.weight_gradients(a, g).flatten(0, 1), contract.weight_gradients(b, h).flatten(0, 1)
    out = torch.zeros(4, 6)
    with exact_products(split=True):
        contract.add_gradient_products(rows, columns, out) if add is None else add(a, g, b, h, out)
    assert len(calls) == (2 if method == "factors" else 1)
    assert error(out, rows, columns) <= BAR
    with exact_products():
        contract.add_gradient_products(rows, columns, out)
    assert len(calls) <= 2  # none without being asked for


@pytest.mark.parametrize("budget", [60_000, 1 << 30])
def test_kernels_are_the_same_in_tiles_of_any_size_and_against_others(budget):
    model, x, y = network(), torch.rand(20, 1, 6, 6), torch.rand(7, 1, 6, 6)
    phi = embedding(model, dtype="tf32x3")
    both = train_test_grams(phi, x, y, dtype="tf32x3", budget_bytes=budget, per_layer=True)
    assert relative_error(both.train, gram(model, x)) <= BAR
    assert relative_error(both.test, gram(model, y, x)) <= BAR
    assert torch.equal(both.train, both.train.T)
    assert relative_error(sum(train for train, _ in both.layers.values()), gram(model, x)) <= BAR
    assert 0 < both.relative_error <= BAR
    across = cross_grams(phi, x, y, dtype="tf32x3", budget_bytes=budget)
    assert relative_error(across.test, gram(model, x, y)) <= BAR


def test_gradients_are_collected_and_paired_without_splitting(monkeypatch):
    """Only the products of the Gram matrix differ from those of float32."""
    model, x = network(), torch.rand(12, 1, 6, 6)
    found = ntk(model, x, dtype="tf32x3", details=True)
    assert found.dtype == "tf32x3"
    assert not torch.equal(found.kernel, ntk(model, x))
    monkeypatch.setattr(contract, "add_split_products", lambda rows, columns, out: out.addmm_(rows, columns.T))
    assert relative_error(ntk(model, x, dtype="tf32x3"), ntk(model, x).double()) < 3e-7
    paired = [ak.kernels.paired_ntk(model, x, x, dtype=dtype) for dtype in ("tf32x3", "float32")]
    assert torch.equal(*paired)


@pytest.mark.gpu
@pytest.mark.parametrize("p", [700, 40_000, 2_000_000])
@pytest.mark.parametrize("positive", [False, True])
def test_a_gpu_multiplies_as_float64(p, positive):
    torch.manual_seed(0)
    rows, columns = (torch.rand(n, p) if positive else numbers(n, p) for n in (300, 200))
    assert error(split_products(rows.cuda(), columns.cuda()), rows, columns) <= BAR


@pytest.mark.gpu
def test_a_gpu_gives_the_kernel_of_float64():
    model, x = ak.models.vgg((1, 8, 8), 3000), torch.rand(40, 1, 8, 8)
    found = ntk(model, x, dtype="tf32x3", device="cuda", details=True)
    assert relative_error(found.kernel.cpu(), gram(model, x)) <= BAR
    assert found.relative_error <= BAR
