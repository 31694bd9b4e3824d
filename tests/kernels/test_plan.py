"""The plan stays within its budget and describes correctly what will be done."""

import contextlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_oracle import Net, force_method
from torch import nn

import afterkernel as ak
from afterkernel.errors import UserError
from afterkernel.kernels import collect, cross_grams, embedding, train_test_grams, train_test_plan
from afterkernel.kernels import gram as gram_module
from afterkernel.kernels import plan as plan_module
from afterkernel.kernels.layers import Shape
from afterkernel.kernels.plan import (
    Cost,
    LayerPlan,
    Outputs,
    Setting,
    check_budget,
    choose,
    choose_for_pairs,
    costs,
    merged,
    plan,
)
from afterkernel.kernels.terms import Block, Gradients

ELEMENTWISE = 8.0


def layers(*sizes):
    return [LayerPlan(f"layer {i}", Cost("gradients", p, p, p, p), "so many") for i, p in enumerate(sizes)]


@settings(deadline=None)
@given(
    n=st.integers(1, 5000), m=st.integers(0, 3000), size=st.integers(1, 10_000), held=st.integers(2, 6000),
    work=st.integers(0, 10**8), workers=st.integers(1, 4), symmetric=st.booleans(), rows=st.integers(1, 700),
)  # fmt: skip
def test_the_embeddings_held_fit_the_budget(n, m, size, held, work, workers, symmetric, rows):
    budget = held * size * 4
    steps = plan(n, m, layers(size), 4, budget, Setting(symmetric, rows, work_bytes=work, workers=workers))
    assert steps.held_bytes + min(work, budget // 4) <= budget or held < 4
    assert steps.held_bytes <= budget
    assert 1 <= steps.rows_per_block <= n
    assert steps.columns_per_chunk >= 1
    assert steps.collected >= n + m
    assert steps.pairs >= n * m + symmetric * (n * (n + 1)) // 2
    assert steps.result_bytes == (n * n * symmetric + n * m) * rows**2 * 4


@settings(deadline=None)
@given(n=st.integers(1, 3000), m=st.integers(0, 3000), held=st.integers(2, 4000), workers=st.integers(1, 4))
def test_row_blocks_end_where_cells_of_a_store_end(n, m, held, workers):
    """Else a cell would be marked as done whose samples belong to two blocks."""
    steps = plan(n, m, layers(7), 4, held * 28, Setting(workers=workers))
    assert steps.rows_per_block == n or steps.rows_per_block % steps.columns_per_chunk == 0


@settings(deadline=None)
@given(n=st.integers(1, 300), held=st.integers(2, 200), cell=st.integers(1, 100))
def test_cells_of_an_earlier_store_are_kept_or_the_budget_is_refused(n, held, cell):
    if held < 2 * cell:
        with pytest.raises(UserError, match=r"budget_bytes=.* too small to continue"):
            plan(n, 20, layers(7), 4, held * 28, Setting(cell=cell))
        return
    steps = plan(n, 20, layers(7), 4, held * 28, Setting(cell=cell))
    assert steps.held_bytes <= held * 28
    assert steps.columns_per_chunk == cell
    assert steps.rows_per_block == n or steps.rows_per_block % cell == 0


def test_a_budget_for_everything_collects_everything_once():
    steps = plan(1000, 200, layers(20, 30), 4, 10**9)
    assert (steps.rows_per_block, steps.collected) == (1000, 1200)
    assert steps.sample_bytes == 50 * 4


class Counting:
    """An embedding that counts the samples to embed and the memory that it is given to write to."""

    dtype, device, outputs, work_bytes, model = torch.float64, torch.device("cpu"), 1, 0, nn.Flatten()
    samples_at_once = 8
    identity = {}  # noqa: RUF012

    def __init__(self):
        self.collected = 0
        self.given = {}

    def plan_layers(self, x, *, paired=False):
        return layers(5)

    def block(self, x, out=None):
        out = Block({"layer 0": (Gradients(x.new_zeros(len(x), 1, 5, dtype=self.dtype)),)}) if out is None else out
        rows = out.layers["layer 0"][0].rows
        rows[:] = x.double()[:, None]
        self.collected += len(x)
        storage = rows.untyped_storage()
        self.given[storage.data_ptr()] = storage.nbytes()
        return out

    def __call__(self, x):
        return self.block(x).embeddings()


@pytest.fixture
def done(monkeypatch):
    """The total of the work and the amounts that it was advanced by."""
    numbers = []

    @contextlib.contextmanager
    def recorder(description, total, *, unit, units):
        amounts = []
        numbers.extend([total, amounts, units])
        yield amounts.append

    monkeypatch.setattr(gram_module, "progress", recorder)
    return numbers


@pytest.mark.parametrize("rows_per_strip", [2, 128])
@pytest.mark.parametrize("held", [2, 4, 7, 30, 1000])
def test_what_is_planned_is_what_is_done(held, rows_per_strip, done, monkeypatch):
    monkeypatch.setattr(plan_module, "ROWS_PER_STRIP", rows_per_strip)
    phi, x, y = Counting(), torch.rand(23, 1), torch.rand(9, 1)
    steps = train_test_grams(phi, x, y, budget_bytes=held * 40).plan
    assert steps == plan(23, 9, layers(5), 8, held * 40)
    assert phi.collected == steps.collected + 1  # one sample shows the layout
    total, amounts, tiles = done
    assert total == steps.multiplications
    assert sum(amounts) == total
    assert len(amounts) == tiles
    assert sum(phi.given.values()) - 40 <= steps.held_bytes <= held * 40  # the one sample aside


@pytest.mark.parametrize("held", [2, 4, 7, 30])
def test_x_against_y_keeps_within_its_budget_too(held, done):
    phi, x, y = Counting(), torch.rand(23, 1), torch.rand(9, 1)
    grams = cross_grams(phi, x, y, budget_bytes=held * 40)
    torch.testing.assert_close(grams.test, 5 * x.double() @ y.double().T)
    assert grams.train.shape == (0, 9)
    assert phi.collected == grams.plan.collected + 1
    assert sum(phi.given.values()) - 40 <= grams.plan.held_bytes <= held * 40
    assert sum(done[1]) == done[0] == grams.plan.multiplications


def a_bit_of_everything():
    return Net(
        lambda s, x: s.c(torch.tanh(s.n(s.b(torch.tanh(s.a(x))))).mean(1) * s.gain),
        a=nn.Embedding(50, 4),
        b=nn.Linear(4, 6),
        n=nn.LayerNorm(6),
        c=nn.Linear(6, 1),
        gain=nn.Parameter(torch.rand(6)),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", "bf16"])
@pytest.mark.parametrize("method", ["gradients", "factors"])
def test_a_sample_takes_the_planned_memory(monkeypatch, method, dtype):
    force_method(monkeypatch, method)
    phi, x = embedding(a_bit_of_everything(), dtype=dtype), torch.randint(0, 50, (8, 5))
    steps = train_test_plan(phi, x, x[:0], 1 << 30, dtype)
    held = phi.block(x).to(torch.bfloat16 if dtype == "bf16" else phi.dtype)
    assert held.bytes <= 8 * steps.sample_bytes


def test_what_is_rounded_to_bf16_fits_the_budget_before_it_is_rounded(monkeypatch):
    largest, real = [], collect.GradientEmbedding.block

    def block(self, x, out=None):
        made = real(self, x, out)
        largest.append(made.bytes if out is None else 0)
        return made

    monkeypatch.setattr(collect.GradientEmbedding, "block", block)
    model, x = ak.models.mlp((1, 8, 8), 4000), torch.rand(120, 1, 8, 8)
    budget = 60 * model.parameter_count * 2
    steps = train_test_grams(embedding(model), x, dtype="bf16", budget_bytes=budget).plan
    assert steps.held_bytes + max(largest) <= budget


def test_a_budget_below_two_embeddings_is_reported():
    with pytest.raises(UserError, match=r"^budget_bytes=10 is too small: .* need 800 bytes"):
        plan(5, 5, layers(60, 40), 4, 10)
    with pytest.raises(UserError, match=r"^budget_bytes=799 is too small: .* need 800 bytes"):
        check_budget(799, 100, 4)
    check_budget(800, 100, 4)


def test_the_description_names_blocks_memory_layers_and_time():
    steps = plan(12_000, 2_000, layers(95_000, 267), 4, 2 * 1024**3)
    text = steps.describe()
    assert "12,000 and 2,000" in text
    assert "GiB" in text
    assert "layer 1" in text
    assert "so many" in text
    assert "time of products" not in text
    assert "10 G multiply-adds per second" in steps.describe(1e10)


shapes = st.builds(
    lambda kind, s, d, o, q: Shape(kind, s, d, o, q, q * d * o), st.sampled_from(["matrix", "lookup", "vector"]),
    st.integers(1, 900), st.integers(1, 900), st.integers(1, 900), st.integers(1, 4),
)  # fmt: skip


@settings(deadline=None)
@given(shapes, st.integers(1, 10), st.booleans())
def test_the_cheaper_method_is_chosen_and_the_reason_names_both(shape, outputs, full):
    counts = Outputs(outputs, outputs if full else 1)
    chosen, found = choose("layer", shape, counts, ELEMENTWISE), costs(shape, counts, ELEMENTWISE)
    assert chosen.cost.operations_a_pair == min(cost.operations_a_pair for cost in found)
    assert len(found) == (1 if shape.kind == "vector" else 2)
    assert all(f"{cost.operations_a_pair:,.0f}" in chosen.reason for cost in found) or len(found) == 1


@pytest.mark.parametrize(
    ("shape", "method"),
    [
        (Shape("matrix", 1, 1000, 1000, 1, 10**6), "factors"),
        (Shape("matrix", 784, 10, 32, 1, 320), "gradients"),
        (Shape("matrix", 4, 2000, 500, 1, 10**6), "factors"),
        (Shape("lookup", 10, 30_000, 64, 1, 30_000 * 64), "factors"),
        (Shape("vector", 10, 1, 64, 1, 64), "gradients"),
    ],
)
def test_wide_layers_go_by_factors_and_layers_of_many_positions_by_gradients(shape, method):
    assert choose("layer", shape, Outputs(), ELEMENTWISE).cost.method == method


def test_units_of_one_layer_are_named_apart():
    plans = [*layers(1, 2), *layers(3)]
    assert [part.layer for part in merged(plans)] == ["layer 0", "layer 1", "layer 0 (2)"]


def test_samples_that_meet_one_other_each_are_held_in_the_cheaper_way():
    # A linear layer: two vectors beat their outer product. A convolution: its gradient beats all pairs of positions.
    dense = Shape("matrix", 1, 785, 94, 1, 785 * 94)
    convolution = Shape("matrix", 196, 343, 76, 1, 343 * 76)
    assert choose_for_pairs("a", dense, Outputs(), 8.0).cost.method == "factors"
    assert choose_for_pairs("a", convolution, Outputs(), 8.0).cost.method == "gradients"
    bias_alone = Shape("vector", 5, 1, 7, 1, 7)
    assert choose_for_pairs("a", bias_alone, Outputs(), 8.0).cost.method == "gradients"


def test_paired_products_embed_in_whole_batches_within_the_budget():
    phi = Counting()
    assert gram_module.samples_to_pair(phi, torch.zeros(100)) == 8
    assert gram_module.samples_to_pair(phi, torch.zeros(100), budget_bytes=8 * 5 * 8) == 2
