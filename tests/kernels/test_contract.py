"""The contractions against slow oracles in float64: einsum, unfold and autograd."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from afterkernel.kernels import contract

BARS = {torch.float64: 1e-12, torch.float32: 1e-5}
few = st.integers(1, 4)
dtypes = st.sampled_from(list(BARS))
quick = settings(max_examples=40, deadline=None)
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


def close(found, expected):
    scale = expected.abs().max().clamp(min=1)  # summands are about 1 and may cancel
    return (
        found.shape == expected.shape and ((found.double() - expected).abs().max() / scale).item() < BARS[found.dtype]
    )


def parts(width, dtype):
    """Two matrices to add to: a whole one, and a view into a larger one."""
    rows, columns = width
    wide = torch.randn(rows, columns + 5, dtype=dtype)
    return [torch.randn(rows, columns, dtype=dtype), wide[:, 2 : 2 + columns]]


@st.composite
def convolutions(draw):
    kernel, stride, dilation = draw(pairs), draw(pairs), draw(pairs)
    padding = tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(2))
    groups, per_group = draw(few), draw(st.integers(1, 3))
    sides = [max(1, dilation[i] * (kernel[i] - 1) + 1 - sum(padding[i])) + draw(st.integers(0, 4)) for i in range(2)]
    return (draw(few), groups * per_group, *sides), kernel, stride, padding, dilation, groups


@given(convolutions(), st.booleans(), dtypes, st.booleans())
@quick
def test_patches_are_those_of_unfold(convolution, bias, dtype, channels_last):
    shape, kernel, stride, padding, dilation, groups = convolution
    a = torch.randn(shape, dtype=dtype)
    a = a.contiguous(memory_format=torch.channels_last) if channels_last else a
    found = contract.image_patches(a, contract.Window(kernel, stride, padding, dilation), groups, bias=bias)
    (top, bottom), (left, right) = padding
    columns = F.unfold(F.pad(a, (left, right, top, bottom)), kernel, dilation=dilation, stride=stride)
    n, c = shape[:2]
    expected = columns.view(n, groups, c // groups, *kernel, -1).permute(0, 1, 5, 3, 4, 2).flatten(3)
    d = expected.shape[-1]
    assert found.is_contiguous()
    assert torch.equal(found[..., :d], expected)
    assert found.shape[-1] == d + bias
    assert not bias or bool((found[..., d] == 1).all())


@given(convolutions(), st.booleans(), few)
@quick
def test_gradients_of_a_convolution_are_those_of_autograd(convolution, bias, per_group_out):
    shape, kernel, stride, padding, dilation, groups = convolution
    n, c = shape[:2]
    x = torch.randn(shape, dtype=torch.float64)
    weight = torch.randn(groups * per_group_out, c // groups, *kernel, dtype=torch.float64, requires_grad=True)
    shift = torch.randn(groups * per_group_out, dtype=torch.float64, requires_grad=True)
    (top, bottom), (left, right) = padding
    padded = F.pad(x, (left, right, top, bottom))
    out = F.conv2d(padded, weight, shift if bias else None, stride, 0, dilation, groups)
    g = torch.randn_like(out)
    patches = contract.image_patches(x, contract.Window(kernel, stride, padding, dilation), groups, bias=bias)
    outputs = g.view(n, 1, groups, per_group_out, -1).transpose(-1, -2)
    rows = contract.weight_gradients(patches, outputs).view(n, groups, per_group_out, -1)
    for sample in range(n):
        grads = torch.autograd.grad(
            (out[sample] * g[sample]).sum(), [weight, shift] if bias else [weight], retain_graph=True
        )
        d = grads[0][0].numel()
        expected = grads[0].permute(0, 2, 3, 1).reshape(groups, per_group_out, d)
        assert close(rows[sample, ..., :d], expected)
        assert not bias or close(rows[sample, ..., d].flatten(), grads[1])


def factors(n, k, q, s, d, o, dtype):
    return torch.randn(n, q, s, d, dtype=dtype), torch.randn(n, k, q, s, o, dtype=dtype)


@given(few, few, st.integers(1, 3), few, few, few, dtypes)
@quick
def test_weight_gradients(n, k, q, s, d, o, dtype):
    a, g = factors(n, k, q, s, d, o, dtype)
    expected = torch.einsum("nqsd,nkqso->nkqod", a.double(), g.double()).flatten(2)
    room = torch.full((n, k, q * o * d), torch.nan, dtype=dtype)
    assert contract.weight_gradients(a, g, room) is room
    assert close(room, expected)
    assert close(contract.weight_gradients(a, g), expected)


@given(few, few, st.integers(1, 3), st.integers(1, 3), few, few, few, few, dtypes, st.sampled_from([1, 20, 1 << 23]))
@quick
def test_factor_products(n, m, k, q, s, t, d, o, dtype, intermediate):
    (a, g), (b, h) = factors(n, k, q, s, d, o, dtype), factors(m, k, q, t, d, o, dtype)
    inputs = torch.einsum("nqsd,mqtd->nmqst", a.double(), b.double())
    outputs = torch.einsum("nkqso,mlqto->nkmlqst", g.double(), h.double())
    added = torch.einsum("nmqst,nkmlqst->nkml", inputs, outputs).reshape(n * k, m * k)
    for out in parts(added.shape, dtype):
        expected = out.double() + added
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(contract, "INTERMEDIATE", intermediate)
            contract.add_factor_products(a, g, b, h, out)
        assert close(out, expected)


@given(few, st.integers(1, 3), st.integers(1, 3), few, few, few, few, dtypes)
@quick
def test_paired_products(n, k, q, s, t, d, o, dtype):
    (a, g), (b, h) = factors(n, k, q, s, d, o, dtype), factors(n, k, q, t, d, o, dtype)
    rows = [contract.weight_gradients(*pair).flatten(1) for pair in ((a, g), (b, h))]
    expected = (rows[0].double() * rows[1].double()).sum(1)
    scale = expected.abs().max().item() + 1e-3
    for intermediate in (1, 1 << 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(contract, "INTERMEDIATE", intermediate)
            found = contract.paired_factor_products(a, g, b, h)
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, expected, rtol=0, atol=BARS[dtype] * scale * 10)
    for widened in (1, 7, 1 << 16):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(contract, "WIDENED", widened)
            torch.testing.assert_close(contract.paired_gradient_products(*rows), expected)
    torch.testing.assert_close(contract.paired_gradient_products(rows[0], rows[0]), rows[0].double().square().sum(1))


@given(few, few, st.integers(1, 9), st.sampled_from([*BARS, torch.bfloat16]))
@quick
def test_gradient_products(n, m, p, held):
    dtype = torch.float32 if held == torch.bfloat16 else held
    rows, columns = torch.randn(n, p).to(held), torch.randn(m, p).to(held)
    for out in parts((n, m), dtype):
        expected = out.double() + rows.double() @ columns.double().T
        contract.add_gradient_products(rows, columns, out)
        assert close(out, expected)


@given(few, few, few, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
@quick
def test_factors_narrower_than_the_result_are_added_up_in_it(n, m, s, k, q, d):
    (a, g), (b, h) = ([t.bfloat16() for t in factors(size, k, q, s, d, 2, torch.float32)] for size in (n, m))
    found, expected = torch.zeros(n * k, m * k), torch.zeros(n * k, m * k, dtype=torch.float64)
    contract.add_factor_products(a, g, b, h, found)
    contract.add_factor_products(a.double(), g.double(), b.double(), h.double(), expected)
    assert close(found, expected)


@given(few, few, few, few, few, st.integers(1, 3), dtypes, st.sampled_from([1, 30, 1 << 23]))
@quick
def test_lookup_products(n, m, s, t, o, k, dtype, intermediate):
    entries = 4
    i, j = torch.randint(-1, entries, (n, s)), torch.randint(-1, entries, (m, t))
    g, h = torch.randn(n, k, s, o, dtype=dtype), torch.randn(m, k, t, o, dtype=dtype)
    left, right = table(i, g, entries), table(j, h, entries)
    added = torch.einsum("nkp,mlp->nkml", left, right).reshape(n * k, m * k)
    assert close(contract.lookup_gradients(i, g, entries), left)
    for out in parts(added.shape, dtype):
        expected = out.double() + added
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(contract, "INTERMEDIATE", intermediate)
            contract.add_lookup_products(i, g, j, h, out)
        assert close(out, expected)


def table(index, grad, entries):
    hot = F.one_hot(index + 1, entries + 1)[..., 1:].double()
    return torch.einsum("nse,nkso->nkeo", hot, grad.double()).flatten(2)
