"""One snapshot's measures together: the same images throughout, nothing twice, layers, and the history."""

import copy

import numpy as np
import pytest
import torch
from measure_cases import LAYERS, context, jacobian, measured, net, normed, problem

import afterkernel as ak
from afterkernel.errors import UserError
from afterkernel.kernels.collect import GradientEmbedding
from afterkernel.kernels.independence import IndependenceChecked
from afterkernel.measures import MEASURES, MeasureState, Numbers, measure_all, measure_options
from afterkernel.measures.measure import Measure
from afterkernel.measures.options import section


def test_all_measures_of_all_kernels_have_their_numbers():
    found = measured(net(), problem(), eigenvalues=2)
    shared = {
        "shift_invariance", "rotation_invariance", "zoom_invariance", "swap_invariance", "effective_rank",
        "target_alignment", "target_cka", "distance_to_initial", "kernel_velocity", "ridge", "ridge_loo_error",
        "ridge_test_error", "eigenvalue_1", "eigenvalue_2", "decay_exponent", "label_energy_2",
        "alignment_with_initial_ntk", "cka_with_initial_ntk", "alignment_with_initial_conjugate",
        "cka_with_initial_conjugate",
    }  # fmt: skip
    for name, other in (("ntk", "conjugate"), ("conjugate", "ntk")):
        kinds = (f"{test}{number}_with_{other}" for test in ("", "test_") for number in ("alignment", "cka"))
        assert set(found[name]) == shared | set(kinds)


def test_names_choose():
    assert set(measured(net(), problem(), names=["effective_rank"])["ntk"]) == {"effective_rank"}
    chosen = measure_options(names=["spectrum", "invariance"], shift_px=[2]).chosen()
    assert [measure.name for measure in chosen] == ["invariance", "spectrum"]
    assert chosen[0].shift_px == [2]


def test_the_effective_rank_is_that_of_all_training_images():
    given, model = problem(60), net()
    found = measured(model, given, gram_images=20, per_layer=True)["ntk"]
    train, _, _ = normed(model, given, "ntk")
    singular = np.linalg.svd(train, compute_uv=False) ** 2
    assert found["effective_rank"] == pytest.approx(singular.sum() / singular[0], rel=1e-6)
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(0))[:20].sort().values
    for layer in LAYERS:
        singular = np.linalg.svd(jacobian(model, given.x_train[rows], layer), compute_uv=False) ** 2
        assert found[f"{layer}/effective_rank"] == pytest.approx(singular.sum() / singular[0], rel=1e-6)


def test_the_grams_of_the_layers_add_up_to_that_of_the_whole():
    grams = context(net(), problem(50), per_layer=True, gram_images=30).kernels["ntk"].grams
    assert set(grams) == {"", *LAYERS}
    for i in (0, 1):
        total = sum(grams[layer][i] for layer in LAYERS)
        torch.testing.assert_close(total, grams[""][i], rtol=1e-10, atol=1e-12)


def test_all_snapshots_and_kernels_see_the_same_images_and_seeds_choose_them():
    given = problem(60, 30)
    first, second = context(net(0), given, 0, gram_images=20), context(net(1), given, 5, gram_images=20)
    assert torch.equal(first.train_sample, second.train_sample)
    assert first.sample_id() == second.sample_id()
    other = context(net(0), given, 0, gram_images=20, seed=1)
    assert not torch.equal(first.train_sample, other.train_sample)
    assert first.sample_id() != other.sample_id()
    a, b = (measured(net(0), given, num_images=10, seed=seed)["ntk"]["swap_invariance"] for seed in (0, 1))
    assert a != b


def test_a_state_of_other_images_is_not_compared_with():
    state = MeasureState()
    measured(net(0), problem(seed=0), 0, state)
    found = measured(net(1), problem(seed=1), 1, state)["ntk"]
    assert found["distance_to_initial"] is found["kernel_velocity"] is None


def test_snapshots_are_measured_in_their_order():
    state = MeasureState()
    measured(net(0), problem(), 3, state)
    with pytest.raises(UserError, match="epoch 3 is measured after that of epoch 3: measure a run's snapshots in"):
        measured(net(1), problem(), 3, state)


def test_nothing_is_embedded_twice(monkeypatch):
    """Whole kernels need only the invariances' embeddings; layers those of the sample in addition."""
    seen = []
    block = IndependenceChecked.block

    def counted(self, x, out=None):
        if isinstance(self.inner, GradientEmbedding):
            seen.append(len(x))
        return block(self, x, out)

    monkeypatch.setattr(IndependenceChecked, "block", counted)
    measured(net(), problem(50, 20), num_images=10, gram_images=30, crop_fraction=[0.5])
    assert sum(seen) == 7 * 10 + 20  # the images of the invariances, and the Gram matrix of all test images
    seen.clear()
    measured(net(), problem(50, 20), num_images=10, gram_images=30, per_layer=True)
    assert sum(seen) <= 7 * 10 + 20 + 30 + 10 + 2  # and one to learn the layers' names, one for room


def test_matrices_may_change_once_they_are_added():
    given, model = problem(), net()
    expected = measured(model, given)
    made = context(model, given)
    for kernel in made.kernels.values():
        assert kernel.grams[""][0].untyped_storage().nbytes() <= 40 * 40 * 8
    assert measure_all(made) == expected


def test_a_kernel_without_directions_has_no_numbers_and_stops_nothing():
    model = net()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    found = measured(model, problem(), per_layer=True, kernels=("ntk",))["ntk"]
    assert found["0/effective_rank"] is found["0/target_alignment"] is found["0/eigenvalue_1"] is None
    assert found["0/ridge_loo_error"] is found["0/margin"] is None
    assert found["effective_rank"] == pytest.approx(1)  # the last layer's bias is left


def test_the_same_numbers_again_from_a_state_on_disk(tmp_path):
    given, whole = problem(), MeasureState()
    models = [net(seed) for seed in range(3)]
    first = []
    for epoch, model in enumerate(models):
        first.append(measured(copy.deepcopy(model), given, epoch, whole, dtype="float32", per_layer=True))
        whole.save(tmp_path / f"{epoch}.npz")
    again = MeasureState()
    assert again.load(tmp_path / "0.npz", 0)
    assert again.load(tmp_path / "1.npz", 1)
    assert measured(models[2], given, 2, again, dtype="float32", per_layer=True) == first[2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_library_gives_the_same_numbers(dtype):
    given, model = problem(), net()
    found = measured(model, given, dtype=dtype)["ntk"]
    kind = getattr(torch, dtype)
    K, C = ak.ntk(model, given.x_train, dtype=kind), ak.conjugate_kernel(model, given.x_train, dtype=kind)
    close = {"abs": 1e-5 if dtype == "float32" else 1e-10}
    assert found["alignment_with_conjugate"] == pytest.approx(ak.alignment(K, C), **close)
    tests = ak.ntk(model, given.x_test, dtype=kind), ak.conjugate_kernel(model, given.x_test, dtype=kind)
    assert found["test_alignment_with_conjugate"] == pytest.approx(ak.alignment(*tests), **close)
    assert found["test_cka_with_conjugate"] == pytest.approx(ak.cka(*tests), **close)
    assert found["target_alignment"] == pytest.approx(ak.target_alignment(K, given.y_train), **close)
    assert found["shift_invariance"] == pytest.approx(ak.invariance(model, given.x_test, "shift", dtype=kind), **close)


def test_a_measure_is_one_class_whose_options_and_numbers_are_found():
    from dataclasses import dataclass
    from typing import ClassVar

    from afterkernel.options import option

    @dataclass
    class Largest(Measure):
        name: ClassVar[str] = "largest"
        power: int = option(1, "largest: exponent", at_least=1)

        def of_sample(self, gram) -> Numbers:
            return {"largest": float(gram.matrix.max()) ** self.power}

    made = section({**MEASURES, "largest": Largest})
    assert made(names=["largest"], power=3).chosen() == [Largest(power=3)]
    assert "largest" not in made().names  # by_default is false
    assert "power" in made().inactive

    @dataclass
    class Clash(Measure):
        shift_px: int = 1

    with pytest.raises(UserError, match=r"measure\.shift_px is the option of two measures: rename that of Clash"):
        section({**MEASURES, "clash": Clash})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), torch.tensor(1.0), "1", True])
@pytest.mark.parametrize("method", ["of_training_set", "of_sample", "of_images"])
def test_a_measure_that_gives_no_finite_number_is_refused(method, value, monkeypatch):
    odd = type("Odd", (Measure,), {"name": "odd", method: lambda self, *_: {"number": value}})
    monkeypatch.setattr("measure_cases.measure_options", section({"odd": odd}))
    with pytest.raises(UserError, match=r"the measure odd gives number=.*: it must be a finite int or float, or None"):
        measured(net(), problem(), names=["odd"])


def test_a_measure_that_gives_a_list_is_refused(monkeypatch):
    odd = type("Odd", (Measure,), {"name": "odd", "of_sample": lambda self, gram: [1.0]})
    monkeypatch.setattr("measure_cases.measure_options", section({"odd": odd}))
    with pytest.raises(UserError, match="the measure odd gives list: it must give numbers by name"):
        measured(net(), problem(), names=["odd"])


def test_every_measure_declares_its_meaning_and_cost():
    for kind in MEASURES.values():
        assert kind.what
        assert "n" in kind.cost
