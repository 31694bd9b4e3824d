"""Sketches against the exact kernel in float64: no bias for any layer, the stated variance, one map in all calls."""

import math

import pytest
import torch
import torch.nn.functional as F
from kernel_oracle import Net, full_gram, gram, set_batch_sizes
from test_layers import CAPTURED, network, tokens
from torch import nn

import afterkernel as ak
from afterkernel.errors import UserError
from afterkernel.kernels import Sketch, layer_ntks, sketch_embedding
from afterkernel.kernels.plan import LayerPlan, costs
from afterkernel.kernels.sketch_embedding import SketchEmbedding
from afterkernel.kernels.sketch_maps import MatrixSketch, Sums, add_lookups, add_pieces, random_bits, random_offsets
from afterkernel.kernels.terms import Block

SEEDS = 60
TIED = {"tied-embedding": (lambda: Net(lambda s, x: s.e(x).sin() @ s.e.weight.T, e=nn.Embedding(7, 3)), tokens)}
LAYERS = CAPTURED | TIED


def mean_of_sketches(phi, block, others):
    """The mean over seeds of the sketched kernel of two blocks, (nk, mk)."""
    total = 0
    for phi.seed in range(SEEDS):
        rows, columns = (phi.shortened(part).flatten(0, 1) for part in (block, others))
        total = total + rows @ columns.T
    return total / SEEDS


def assert_unbiased(mean, exact, lengths, other_lengths, dim):
    """Every entry is within five standard deviations of the exact one, at most a quarter of the lengths at dim = 8."""
    scale = lengths.sqrt()[:, None] * other_lengths.sqrt()
    deviation = ((scale**2 + exact**2) / (dim * SEEDS)).sqrt()
    assert ((mean - exact).abs() <= 5 * deviation + 1e-12 * scale.max()).all()


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("case", LAYERS)
def test_the_sketch_of_a_layer_is_unbiased(case):
    make, inputs = LAYERS[case]
    torch.manual_seed(0)
    model, x, y = network(make), inputs(5), inputs(3)
    phi = SketchEmbedding(model, dim=8, dtype=torch.float64)
    phi.plan_layers(x)
    exact = gram(model, x, y)
    lengths, other_lengths = gram(model, x).diagonal(), gram(model, y).diagonal()
    mean = mean_of_sketches(phi, phi.phi.block(x), phi.phi.block(y))
    assert_unbiased(mean, exact, lengths, other_lengths, 8)


def three_outputs():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(24, 5), nn.Tanh(), nn.Linear(5, 3))


@pytest.mark.parametrize("output", [1, "trace", "full"])
@pytest.mark.parametrize("dim", [4, 64])
def test_sketches_of_several_outputs_are_unbiased(output, dim):
    model, x, y = three_outputs(), torch.rand(4, 2, 4, 4), torch.rand(3, 2, 4, 4)
    phi = SketchEmbedding(model, dim=dim, dtype=torch.float64, output=output)
    phi.plan_layers(x)
    K, Kx, Ky = full_gram(model, x, y), full_gram(model, x), full_gram(model, y)

    def chosen(K):
        if output == "full":
            return K.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
        return K[..., 1, 1] if output == 1 else K.diagonal(dim1=2, dim2=3).sum(2)

    mean = mean_of_sketches(phi, phi.phi.block(x), phi.phi.block(y))
    assert_unbiased(mean, chosen(K), chosen(Kx).diagonal(), chosen(Ky).diagonal(), dim)


@pytest.mark.parametrize("output", [None, "trace", "full"])
def test_the_shape_is_that_of_samples_outputs_and_dim(output):
    model, x = three_outputs() if output else nn.Linear(4, 1), torch.rand(5, 2, 4, 4) if output else torch.rand(5, 4)
    found = ak.sketch(model, x, 16, output=output, details=True)
    assert found.embedding.shape == ((5, 3, 16) if output == "full" else (5, 16))
    assert found.kernel().shape == ak.ntk(model, x, output=output).shape


@pytest.mark.parametrize(("outputs", "inputs"), [(3, 7), (7, 3), (5, 5), (19, 6)])
@pytest.mark.parametrize("dim", [4, 64])
def test_factors_and_written_gradients_have_one_sketch_that_of_the_definition(outputs, inputs, dim, monkeypatch):
    monkeypatch.setattr("afterkernel.kernels.sketch_maps.TRANSFORMED", 300)  # several parts
    a, g = torch.randn(5, 4, inputs).double(), torch.randn(5, 2, 4, outputs).double()
    rows = torch.einsum("nsd,nkso->nkod", a, g)
    matrix = MatrixSketch(17, outputs, inputs)

    def sketched(add, *given):
        sums = Sums(5, 2, dim, 3, a)
        add(*given, sums)
        return sums.folded()

    by_factors, written = sketched(matrix.add_factors, a, g), sketched(matrix.add_written, rows)
    torch.testing.assert_close(by_factors, written, rtol=0, atol=1e-12)
    # each entry's own sketch: of length 1, and entries of one row or one column apart from each other
    entries = torch.eye(outputs * inputs, dtype=torch.float64).view(1, -1, outputs, inputs)
    sums = Sums(1, outputs * inputs, dim, 3, entries)
    matrix.add_written(entries, sums)
    (plain,) = sums._plain.values()
    assert (plain.abs().sum(dim=2) == 1).all()
    places = plain[0].abs().argmax(dim=1).view(outputs, inputs)
    assert all(len(set(line.tolist())) == len(line) for line in [*places, *places.T])
    expected = torch.einsum("nkp,pd->nkd", rows.flatten(2), sums.folded()[0])
    torch.testing.assert_close(written, expected, rtol=0, atol=1e-12)


def test_pieces_and_lookups_have_the_sketch_of_the_definition():
    rows = torch.randn(3, 2, 21).double()
    sketched = Sums(3, 2, 8, 0, rows)
    add_pieces(rows, 5, sketched.plain(8))
    entries = Sums(1, 21, 8, 0, rows)
    add_pieces(torch.eye(21, dtype=torch.float64)[None], 5, entries.plain(8))
    map_ = entries.folded()[0]
    assert (map_.abs().sum(dim=1) == 1).all()
    assert all(
        len(set(map_[start : start + 8].abs().argmax(1).tolist())) == len(map_[start : start + 8])
        for start in (0, 8, 16)
    )
    torch.testing.assert_close(sketched.folded(), rows @ map_, rtol=0, atol=1e-12)

    indices, outputs = torch.tensor([[0, 6, 6, -1], [2, 0, 1, 2]]), torch.randn(2, 2, 4, 3).double()
    table = torch.zeros(2, 2, 7, 3).double()
    for n in range(2):
        for s in range(4):
            if indices[n, s] >= 0:
                table[n, :, indices[n, s]] += outputs[n, :, s]
    found, own = Sums(2, 2, 8, 0, rows), Sums(7, 3, 8, 0, rows)
    add_lookups(indices, outputs, 5, found)
    add_lookups(torch.arange(7)[:, None], torch.eye(3, dtype=torch.float64)[None, :, None].expand(7, 3, 1, 3), 5, own)
    torch.testing.assert_close(found.folded(), torch.einsum("nkvo,vod->nkd", table, own.folded()), rtol=0, atol=1e-12)


MAPS = {
    "matrix": lambda x, key, sums: MatrixSketch(key, 8, 8).add_written(x.view(1, -1, 8, 8), sums),
    "wide matrix": lambda x, key, sums: MatrixSketch(key, 4, 16).add_written(x.view(1, -1, 4, 16), sums),
    "pieces": lambda x, key, sums: add_pieces(x, key, sums.plain(sums.dim)),
    "lookups": lambda x, key, sums: add_lookups(torch.arange(16)[None], x.view(1, -1, 16, 4), key, sums),
}


@pytest.mark.parametrize("dim", [4, 8, 16])
@pytest.mark.parametrize("case", MAPS)
def test_a_map_is_unbiased_and_has_the_variance_stated(case, dim):
    """Also of vectors without a sign or a direction of their own, for which a missing sign shows the most."""
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([torch.ones(1, 64), torch.rand(2, 64, generator=generator), torch.randn(3, 64, generator=generator)])
    x = torch.nn.functional.normalize(x.double())
    found = []
    for seed in range(400):
        sums = Sums(1, 6, dim, seed, x)
        MAPS[case](x[None], seed, sums)
        rows = sums.folded()[0]
        found.append(rows @ rows.T)
    products, exact = torch.stack(found), x @ x.T
    variance = (1 + exact**2) / dim
    assert ((products.mean(0) - exact).abs() <= 5 * (variance / 400).sqrt()).all()
    room = 2.2 if case == "lookups" else 1.5  # entries of a table may have one offset
    assert (products.var(0) <= room * variance).all()


def test_random_bits_are_the_same_everywhere():
    """The published numbers of splitmix64, so that sketches of another machine or version belong to these."""
    wanted = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert random_bits(0, torch.arange(3)).tolist() == [value >> 2 for value in wanted]
    assert sorted(random_offsets(1, 10, 10, torch.device("cpu")).tolist()) == list(range(10))
    assert len(set(random_offsets(1, 9, 50, torch.device("cpu")).tolist())) == 9
    assert int(random_offsets(1, 99, 50, torch.device("cpu")).max()) < 50


def deep():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.Tanh(), nn.Conv2d(5, 6, 3), nn.Tanh(), nn.Flatten(),
        nn.Linear(24, 30), nn.Tanh(), nn.Linear(30, 1),
    ).eval()  # fmt: skip


def test_the_error_is_that_of_a_dense_projection_at_every_dim():
    model, x = deep(), torch.rand(24, 2, 4, 4)
    K = gram(model, x)
    lengths = K.diagonal().sqrt()
    scale = lengths[:, None] * lengths
    off = ~torch.eye(24, dtype=torch.bool)
    for dim in (16, 64, 256):
        phi = SketchEmbedding(model, dim=dim, dtype=torch.float64)
        phi.plan_layers(x)
        block, squares = phi.phi.block(x), []
        for phi.seed in range(40):
            rows = phi.shortened(block)[:, 0]
            squares.append((((rows @ rows.T - K) / scale)[off] ** 2).mean())
        expected = ((1 + (K / scale)[off] ** 2) / dim).mean()
        assert torch.stack(squares).mean() <= 1.25 * expected
        assert torch.stack(squares).mean() >= 0.3 * expected


def test_a_sketch_depends_on_nothing_but_model_samples_dim_and_seed(monkeypatch):
    model, x = deep(), torch.rand(30, 2, 4, 4)
    E = ak.sketch(model, x, 64)
    assert torch.equal(ak.sketch(model, x, 64), E)
    close = {"rtol": 0, "atol": 2e-6 * float(E.abs().max())}
    torch.testing.assert_close(ak.sketch(model, x[7:9], 64), E[7:9], **close)
    torch.testing.assert_close(ak.sketch(model, x, 64, budget_bytes=400_000), E, **close)
    torch.testing.assert_close(ak.sketch(model, x, 64, dtype="float64").float(), E, **close)
    for method in ("gradients", "factors"):

        def forced(self, layer, shape, outputs, elementwise, method=method):
            self.shapes.setdefault(layer, []).append(shape)
            found = costs(shape, outputs, elementwise)
            return LayerPlan(layer, next((c for c in found if c.method == method), found[0]), "forced")

        with monkeypatch.context() as patch:
            patch.setattr(sketch_embedding.SketchChoice, "__call__", forced)
            torch.testing.assert_close(ak.sketch(model, x, 64), E, **close)
    set_batch_sizes(monkeypatch, samples=4, few_samples=4)
    torch.testing.assert_close(ak.sketch(model, x, 64), E, **close)
    assert not torch.allclose(ak.sketch(model, x, 64, 1), E, rtol=0, atol=1e-2 * float(E.abs().max()))


def test_the_plan_depends_on_the_positions_and_the_sketch_does_not():
    torch.manual_seed(0)
    model = Net(lambda s, x: s.b(torch.tanh(s.a(x)).sum(1)), a=nn.Linear(30, 40), b=nn.Linear(40, 1))
    short = torch.rand(4, 1, 30)
    long = torch.cat([short, torch.zeros(4, 3000, 30)], dim=1)  # tanh(bias) is added by each position
    methods = [ak.sketch(model, x, 16, details=True).plan[0].cost.method for x in (short, long)]
    assert methods == ["factors", "gradients"]
    found = ak.sketch(model, short, 1024, details=True).kernel(ak.sketch(model, long, 1024, details=True))
    exact = ak.ntk(model, short, long)
    assert (found - exact).abs().max() < 6 * exact.abs().max() / 32


def test_samples_of_two_calls_belong_together():
    model, x, y = deep(), torch.rand(9, 2, 4, 4), torch.rand(5, 2, 4, 4)
    both = ak.sketch(model, torch.cat([x, y]), 512)
    first, second = ak.sketch(model, x, 512, details=True), ak.sketch(model, y, 512, details=True)
    torch.testing.assert_close(first.kernel(second), both[:9] @ both[9:].T)
    for other in (ak.sketch(model, y, 256, details=True), ak.sketch(model, y, 512, 1, details=True)):
        with pytest.raises(UserError, match="not by the same random map"):
            first.kernel(other)


def test_samples_outputs_and_parameters_are_those_of_the_kernel():
    model, x = three_outputs(), torch.rand(5, 2, 4, 4)
    E = ak.sketch(model, x, 32, output=1)
    assert torch.equal(ak.sketch(model, {"input": x}, 32, output=1), E)
    torch.testing.assert_close(ak.sketch(model, x, 32, forward=lambda model, batch: model(batch)[:, 1]), E)
    summed = ak.sketch(model, x, 32, output="sum", parameters="3.*")
    each = [ak.sketch(model, x, 32, output=k, parameters="3.*", details=True) for k in range(3)]
    assert [layer.layer for layer in each[0].plan] == ["3"]
    torch.testing.assert_close(summed, sum(found.embedding for found in each))


def test_a_table_has_one_map_as_lookups_and_written_out():
    def forward(net, x):
        scores = F.linear(torch.tanh(net.a(x)), net.a.weight)
        few = x[:, :1] < 6  # true of the first samples alone
        return torch.where(few, scores[:, -1, :1], scores.sum(dim=(1, 2))[:, None])

    model = Net(forward, a=nn.Embedding(7, 3))
    few, many = torch.randint(0, 6, (8, 5)), torch.full((3, 5), 6)
    with_many = ak.sketch(model, torch.cat([few, many]), 8, dtype="float64", details=True)
    alone = [ak.sketch(model, x, 8, dtype="float64", details=True) for x in (few, many)]
    assert {found.layout for found in alone} == {with_many.layout}
    assert alone[0].plan[0].cost.method != with_many.plan[0].cost.method
    torch.testing.assert_close(torch.cat([found.embedding for found in alone]), with_many.embedding)


def test_the_error_is_estimated_from_exact_entries():
    model, x = deep(), torch.rand(40, 2, 4, 4)
    found = ak.sketch(model, x, 64, dtype="float64", details=True)
    assert isinstance(found, Sketch)
    K = gram(model, x)
    lengths = K.diagonal().sqrt()
    apart = ((found.kernel() - K) / (lengths[:, None] * lengths))[~torch.eye(40, dtype=torch.bool)]
    assert found.relative_error == pytest.approx(float(apart.square().mean().sqrt()), rel=1e-9)
    assert [layer.layer for layer in found.plan] == list(layer_ntks(model, x))
    assert ak.sketch(model, x[:1], 64, details=True).relative_error is None


def test_the_plan_writes_nothing_of_the_size_of_a_large_layer():
    wide = nn.Sequential(nn.Linear(900, 1100), nn.ReLU(), nn.Linear(1100, 1))
    plan = ak.sketch(wide, torch.rand(3, 900), 256, details=True).plan
    assert [layer.cost.method for layer in plan] == ["factors", "gradients"]
    assert sum(layer.cost.numbers for layer in plan) < 4000


def test_what_a_sketch_refuses():
    model, x = nn.Linear(4, 1), torch.rand(5, 4)
    for given, message in (
        ({"dim": 0}, "dim=0 is not the length of a sketch"),
        ({"dim": 2**25}, "dim=33554432 is not"),
        ({"seed": -1}, "seed=-1 is not a seed"),
        ({"dtype": "bf16"}, "dtype=bf16 is a precision of products"),
        ({"budget_bytes": 10}, "too small"),
        ({"output": "diagonal"}, 'take output="full"'),
    ):
        with pytest.raises(UserError, match=message):
            ak.sketch(model, x, **given)
    with pytest.raises(UserError, match="not finite"):
        ak.sketch(model, torch.full((5, 4), torch.nan))
    with pytest.raises(UserError, match="at least one sample"):
        ak.sketch(model, x[:0])
    branch = Net(
        lambda s, x: torch.cat([(s.a if row.sum() > 0 else s.b)(row[None]) for row in x]),
        a=nn.Linear(4, 1),
        b=nn.Linear(4, 1),
    )
    x[3:] -= 5
    with pytest.raises(UserError, match="differently for some samples"):
        ak.sketch(branch, torch.cat([x[:3]] * 6 + [x]), budget_bytes=10**6)


def test_one_layer_in_a_block_has_its_own_map():
    """Equal layers of other names or places must not add up in one place."""
    model = Net(lambda s, x: s.a(x) + s.b(x), a=nn.Linear(4, 1), b=nn.Linear(4, 1))
    x = torch.rand(3, 4)
    phi = SketchEmbedding(model, dim=64, dtype=torch.float64)
    phi.plan_layers(x)
    block = phi.phi.block(x)
    first, second = (phi.shortened(Block({name: terms})) for name, terms in block.layers.items())
    assert not torch.allclose(first, second)
    assert math.isclose(float(first.square().sum()), float(second.square().sum()), rel_tol=1e-9)
