"""The sketched NTK as a kernel of runs: through the engine, in the identity of a run, and in its record."""

import pytest
import torch

import afterkernel as ak
from afterkernel.config import compose, to_config
from afterkernel.kernel_kinds import KINDS, KernelInput
from afterkernel.kernel_kinds.sketch import SketchOptions
from afterkernel.kernels import paired_products, train_test_grams
from afterkernel.measures.invariance import invariance
from afterkernel.runs.evaluate import Evaluator
from afterkernel.training.snapshot import Snapshot
from afterkernel.transforms import shift

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ak.models.vgg((1, 8, 8), width=3)


@pytest.fixture(scope="module")
def images():
    return torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def sketched(network, images, dtype="float32", **options):
    return KINDS["sketch"].embedding(KernelInput(network, images, dtype, CPU, sketch=SketchOptions(**options)))


@pytest.mark.parametrize(("dtype", "budget"), [("float32", 600_000), ("float64", 2**30), ("bf16", 2**30)])
def test_gram_matrices_are_those_of_the_random_features(network, images, dtype, budget):
    phi = sketched(network, images, dtype, dim=128, seed=3)
    E = ak.sketch(network, images, 128, 3, dtype="float64")
    grams = train_test_grams(phi, images[:16], images[16:], budget_bytes=budget, dtype=dtype)
    bar = {"float32": 3e-5, "float64": 1e-12, "bf16": 2e-2}[dtype] * float((E @ E.T).max())
    assert (grams.train.double() - E[:16] @ E[:16].T).abs().max() < bar
    assert (grams.test.double() - E[16:] @ E[:16].T).abs().max() < bar
    assert (paired_products(phi, images[:8], images[8:16]) - (E[:8] * E[8:16]).sum(1)).abs().max() < bar


def test_tiles_of_one_sketch_are_not_taken_for_those_of_another(network, images, tmp_path):
    train_test_grams(sketched(network, images, dim=64), images, store=tmp_path)
    with pytest.raises(ak.UserError, match="another job: its"):
        train_test_grams(sketched(network, images, dim=64, seed=1), images, store=tmp_path)


def test_its_invariances_are_those_of_the_random_features(network, images):
    x = images[:6]
    a, down, right = (ak.sketch(network, part, 64, dtype="float64") for part in (x, shift(x, 0, 1), shift(x, 1, 0)))
    length = lambda rows: rows.norm(dim=1) + 1e-4  # noqa: E731
    cosines = [((a * moved).sum(1) / (length(a) * length(moved))).mean() for moved in (down, right)]
    phi = sketched(network, x, "float64", dim=64)
    assert invariance(phi, x, "shift") == pytest.approx(float(sum(cosines)) / 2, rel=1e-9)


def test_the_options_of_the_sketch_belong_to_runs_that_compute_it():
    def run_id(*overrides):
        return to_config(compose(["dataset=digits", "arch=mlp", *overrides])).identity.run_id

    assert run_id("kernel.sketch.dim=64") == run_id()
    assert run_id("kernel.names=[ntk,sketch]") != run_id("kernel.names=[ntk,sketch]", "kernel.sketch.dim=64")
    with pytest.raises(ak.UserError, match=r"kernel\.sketch\.dim=0 is too small"):
        to_config(compose(["kernel.sketch.dim=0"]))


def test_a_record_says_how_exact_it_is(tmp_path):
    chosen = ["kernel.names=[ntk,sketch]", "kernel.sketch.dim=256", "measure.num_images=4", "measure.gram_images=40"]
    config = to_config(
        compose(
            [
                "arch=mlp",
                "arch.budget=3000",
                "dataset.max_train=60",
                "dataset.max_test=10",
                "training.epochs=1",
                *chosen,
                "measure.names=[ridge,spectrum]",
            ]
        )
    )
    problem = config.dataset.load()
    network = config.arch.build(problem.image_shape)
    record = Evaluator(config, problem, "run", tmp_path).evaluate(
        network, Snapshot(0, 0, 0.0, 0.0, 0.0, sha256="sha"), training_end="epochs"
    )
    exact, estimate = record.kernels
    assert (exact.kernel, estimate.kernel) == ("ntk", "sketch")
    assert exact.approximation_error is None
    assert 0.02 < estimate.approximation_error < 0.12
    assert exact.ridge_test_error is not None
    assert estimate.ridge_test_error is None
    assert estimate.margin != exact.margin
    assert estimate.margin == pytest.approx(exact.margin, rel=0.5)
