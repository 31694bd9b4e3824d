import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from measure_cases import LAYERS, RAW, cka, cosine, jacobian, measured, net, problem

import afterkernel as ak
from afterkernel.errors import UserError
from afterkernel.measures import MeasureState


def gram(n, seed):
    factors = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return factors @ factors.T


def test_distances_velocities_and_alignments_over_snapshots_agree_with_numpy_on_raw_embeddings():
    given_problem, state = problem(), MeasureState()
    models, epochs = [net(0), net(1), net(2)], [0, 1, 4]
    found = [
        measured(model, given_problem, epoch, state, per_layer=True)
        for model, epoch in zip(models, epochs, strict=True)
    ]
    grams = [{name: raw(m, given_problem.x_train) for name, raw in RAW.items()} for m in models]
    grams = [{name: phi @ phi.T for name, phi in one.items()} for one in grams]
    for name, other in (("ntk", "conjugate"), ("conjugate", "ntk")):
        assert found[0][name]["distance_to_initial"] == 0
        assert found[0][name]["kernel_velocity"] is None
        for i in (0, 1, 2):
            now, numbers = grams[i], found[i][name]
            far = 1 - cosine(grams[0][name], now[name])
            assert numbers["distance_to_initial"] == pytest.approx(far, abs=1e-6)
            if i:
                fast = (1 - cosine(grams[i - 1][name], now[name])) / (epochs[i] - epochs[i - 1])
                assert numbers["kernel_velocity"] == pytest.approx(fast, abs=1e-6)
            others = {other: now[other], "initial_ntk": grams[0]["ntk"], "initial_conjugate": grams[0]["conjugate"]}
            for with_name, matrix in others.items():
                assert numbers[f"alignment_with_{with_name}"] == pytest.approx(cosine(now[name], matrix), abs=1e-6)
                assert numbers[f"cka_with_{with_name}"] == pytest.approx(cka(now[name], matrix), abs=1e-6)
    for layer in LAYERS:
        a, b = (jacobian(models[i], given_problem.x_train, layer) for i in (0, 2))
        far = 1 - cosine(a @ a.T, b @ b.T)
        assert found[2]["ntk"][f"{layer}/distance_to_initial"] == pytest.approx(far, abs=1e-6)
        assert found[2]["ntk"][f"{layer}/alignment_with_initial_ntk"] == pytest.approx(1 - far, abs=1e-6)


def test_without_a_snapshot_of_the_initialisation_there_is_no_distance_to_it():
    given_problem, state = problem(), MeasureState()
    measured(net(0), given_problem, 2, state)
    found = measured(net(1), given_problem, 5, state)["ntk"]
    assert found["distance_to_initial"] is found["alignment_with_initial_ntk"] is None
    assert found["kernel_velocity"] > 0
    assert found["alignment_with_conjugate"] > 0


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 8), st.integers(0, 10**6), st.floats(1e-150, 1e150))
def test_bounds_scale_order_and_symmetry(n, seed, scale):
    K, C = gram(n, seed), gram(n, seed + 1)
    distance = ak.kernel_distance(K, C)
    assert 0 <= distance <= 1 + 1e-12
    assert distance == pytest.approx(1 - ak.alignment(K, C), abs=1e-12)
    assert ak.kernel_distance(C, K * scale) == pytest.approx(distance, rel=1e-9, abs=1e-15)
    assert ak.kernel_distance(K, K * scale) == pytest.approx(0, abs=1e-30)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    assert ak.kernel_distance(K[order][:, order], C[order][:, order]) == pytest.approx(distance, rel=1e-9, abs=1e-15)


def test_small_distances_keep_their_digits():
    # Orthogonal matrices K and C: the angle of K and K + e C is atan e, and 1 - cos of it e^2 / 2.
    K, C = torch.diag(torch.tensor([1.0, 0], dtype=torch.float64)), torch.diag(torch.tensor([0.0, 1]).double())
    assert ak.kernel_distance(K, K + 1e-7 * C) == pytest.approx(0.5e-14, rel=1e-6)


def test_errors_are_reported():
    with pytest.raises(UserError, match="both must be of the same images"):
        ak.kernel_distance(torch.eye(2), torch.eye(3))
    with pytest.raises(UserError, match="C contains only zeros"):
        ak.kernel_distance(torch.eye(2), torch.zeros(2, 2))
