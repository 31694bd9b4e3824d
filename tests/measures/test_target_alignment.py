from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from measure_cases import LAYERS, RAW, cka, cosine, jacobian, measured, net, problem

import afterkernel as ak
from afterkernel.errors import UserError
from afterkernel.measures.samples import sample_indices


def test_numbers_of_a_run_agree_with_numpy_on_raw_embeddings():
    given_problem, model = problem(), net()
    found = measured(model, given_problem, per_layer=True)
    y = given_problem.y_train.numpy() * 2.0 - 1
    for name, raw in RAW.items():
        phi = raw(model, given_problem.x_train)
        assert found[name]["target_alignment"] == pytest.approx(cosine(phi @ phi.T, np.outer(y, y)), abs=1e-6)
        assert found[name]["target_cka"] == pytest.approx(cka(phi @ phi.T, np.outer(y, y)), abs=1e-6)
    for layer in LAYERS:
        phi = jacobian(model, given_problem.x_train, layer)
        expected = cosine(phi @ phi.T, np.outer(y, y))
        assert found["ntk"][f"{layer}/target_alignment"] == pytest.approx(expected, abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 9), st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_bounds_scale_and_order(n, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    factors = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(2, (n,), generator=generator)
    K, order = factors @ factors.T, torch.randperm(n, generator=generator)
    value = ak.target_alignment(K, y)
    assert -1e-15 <= value <= 1 + 1e-15  # both are positive semi-definite
    assert ak.target_alignment(scale * K[order][:, order], y[order]) == pytest.approx(value, abs=1e-12)
    assert ak.target_alignment(K, 1 - y) == pytest.approx(value, abs=1e-12)
    sign = y * 2.0 - 1
    assert ak.target_alignment(torch.outer(sign, sign), y) == pytest.approx(1, rel=1e-12)


def test_a_sample_of_one_class_has_an_alignment_but_no_centred_one():
    given_problem = problem()
    labels = torch.ones(40, dtype=torch.int64)
    labels[sample_indices(40, 20, 0)] = 0
    given_problem = replace(given_problem, y_train=labels)
    found = measured(net(), given_problem, names=["target_alignment", "ridge"], gram_images=20)["ntk"]
    assert found["target_alignment"] > 0
    assert found["target_cka"] is found["ridge_test_error"] is None


def test_errors_are_reported():
    with pytest.raises(UserError, match="square Gram matrix"):
        ak.target_alignment(torch.ones(2, 3), torch.zeros(2))
    with pytest.raises(UserError, match="y has shape"):
        ak.target_alignment(torch.eye(2), torch.zeros(3))
    with pytest.raises(UserError, match="labels must be 0 and 1"):
        ak.target_alignment(torch.eye(2), torch.tensor([-1, 1]))
