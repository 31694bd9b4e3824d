"""Measures with labels of several classes, against their definitions by hand."""

import numpy as np
import pytest
import torch
from measure_cases import cka, cosine

import afterkernel as ak
from afterkernel.errors import UserError
from afterkernel.measures import Measure, measure_options
from afterkernel.measures.class_targets import class_targets
from afterkernel.measures.layer_svm import LayerSVM
from afterkernel.measures.measure import SampleGram
from afterkernel.measures.ridge import Ridge
from afterkernel.measures.spectrum import SpectrumMeasure
from afterkernel.measures.target_alignment import TargetAlignment
from afterkernel.svm import HardMarginSVM
from afterkernel.svm.ridge import RIDGES, KernelRidge

C = 4


def sample(n=30, m=20, seed=0, features=12, missing=()):
    generator = torch.Generator().manual_seed(seed)
    phi = torch.randn(n + m, features, generator=generator, dtype=torch.float64)
    labels = torch.tensor([label for label in range(C) if label not in missing])
    y = labels[torch.arange(n + m) % len(labels)]
    phi[torch.arange(n + m), y] += 1.5
    K, K_test = phi[:n] @ phi[:n].T, phi[n:] @ phi[:n].T
    return SampleGram(K, y[:n], K_test, y[n:], 1e-14, n_classes=C)


def test_alignment_is_with_1_for_one_class_and_a_negative_share_for_different_ones():
    gram = sample()
    same = (gram.labels[:, None] == gram.labels).double()
    target, K = (same - (1 - same) / (C - 1)).numpy(), gram.matrix.numpy()
    found = TargetAlignment().of_sample(gram)
    assert found["target_alignment"] == pytest.approx(cosine(K, target), rel=1e-12)
    # centred, the class-indicator kernel is as good
    assert found["target_cka"] == pytest.approx(cka(K, same.numpy()), rel=1e-9)
    assert ak.target_alignment(gram.matrix, gram.labels) == found["target_alignment"]


def test_the_definition_for_two_classes_is_the_same():
    y = torch.tensor([0, 1, 1, 0, 1])
    sign = 2.0 * y - 1
    assert torch.equal(
        class_targets(y, torch.eye(5)) @ class_targets(y, torch.eye(5)).T, torch.outer(sign, sign).double()
    )
    vectors = class_targets(torch.tensor([0, 2, 1, 2]), torch.eye(4))
    expected = torch.tensor([[1, -0.5, -0.5, -0.5], [-0.5, 1, -0.5, 1], [-0.5, -0.5, 1, -0.5], [-0.5, 1, -0.5, 1]])
    torch.testing.assert_close(vectors @ vectors.T, expected.double())


def test_the_number_of_classes_is_that_of_the_problem_and_not_of_the_sample():
    gram = sample(missing=(1,))
    same = (gram.labels[:, None] == gram.labels).double()
    target = (same - (1 - same) / (C - 1)).numpy()
    assert TargetAlignment().of_sample(gram)["target_alignment"] == pytest.approx(cosine(gram.matrix.numpy(), target))
    assert LayerSVM().of_sample(SampleGram(**{**vars(gram), "layer": "1"})) == {"svm_test_error": None, "margin": None}


def test_label_energy_is_the_share_of_the_class_vectors():
    gram = sample()
    _values, vectors = np.linalg.eigh(gram.matrix.numpy())
    one_hot = np.eye(C)[gram.labels.numpy()] - 1 / C
    energy = np.square(vectors[:, ::-1][:, :3].T @ one_hot).sum() / np.square(one_hot).sum()
    assert SpectrumMeasure(eigenvalues=3).of_sample(gram)["label_energy_3"] == pytest.approx(energy, rel=1e-9)
    assert ak.spectrum(gram.matrix, gram.labels).label_energy[-1] <= 1 + 1e-12


def test_ridge_regression_leaves_each_image_out():
    gram = sample()
    K, y = gram.matrix.numpy(), gram.labels.numpy()
    signs, n, scale = 2 * np.eye(C)[y] - 1, len(y), gram.matrix.diagonal().max().item()
    errors, squares = [], []
    for ridge in RIDGES:
        left_out = np.empty_like(signs)
        for i in range(n):
            rest = np.delete(np.arange(n), i)
            a = np.linalg.solve(K[np.ix_(rest, rest)] + ridge * scale * np.eye(n - 1), signs[rest])
            left_out[i] = K[i, rest] @ a
        errors.append(np.mean(left_out.argmax(1) != y))
        squares.append(np.mean(np.square(signs - left_out)))
    best = min(range(len(RIDGES)), key=lambda r: (errors[r], squares[r]))
    a = np.linalg.solve(K + RIDGES[best] * scale * np.eye(n), signs)
    found = Ridge().of_sample(gram)
    assert found["ridge_loo_error"] == pytest.approx(errors[best])
    assert found["ridge"] == RIDGES[best]
    assert found["ridge_test_error"] == np.mean((gram.test.numpy() @ a).argmax(1) != gram.test_labels.numpy())
    assert 0 < found["ridge_loo_error"] < 1


def test_ridge_regression_of_classes_chooses_no_ridge_below_the_precision_of_the_kernel(monkeypatch):
    gram = sample()
    usable = [ridge for ridge in RIDGES if ridge >= 1e-2]

    def errors(K, dual):
        exact = any(torch.allclose(K.double() @ dual + ridge * K.diagonal().max() * dual, targets) for ridge in usable)
        return torch.tensor([0.0 if exact else 1.0])

    targets = 2 * torch.eye(C, dtype=torch.float64)[gram.labels] - 1
    monkeypatch.setattr("afterkernel.measures.ridge.rounding_errors", errors)
    found = Ridge().of_sample(gram)
    monkeypatch.setattr("afterkernel.measures.ridge.RIDGES", usable)
    assert found == Ridge().of_sample(gram)
    assert found["ridge"] in usable


def test_ridge_regression_of_two_classes_is_the_same_either_way():
    gram = sample()
    two = SampleGram(**{**vars(gram), "labels": gram.labels % 2, "test_labels": gram.test_labels % 2})
    from afterkernel.measures.ridge import _of_classes

    found, expected = (
        _of_classes(SampleGram(**{**vars(two), "n_classes": 2})),
        KernelRidge().fit(gram.matrix, two.labels),
    )
    assert (found["ridge_loo_error"], found["ridge"]) == (expected.loo_error_.min().item(), expected.ridge_)


def test_the_margin_of_a_layer_is_the_smallest_over_classes():
    gram = SampleGram(**{**vars(sample(features=60)), "layer": "layers.1"})
    alone = [HardMarginSVM().fit(gram.matrix, (gram.labels == label).long()) for label in range(C)]
    found = LayerSVM().of_sample(gram)
    assert found["margin"] == min(svm.margin_ for svm in alone)
    values = torch.stack([svm.decision_function(gram.test) for svm in alone], 1)
    assert found["svm_test_error"] == (values.argmax(1) != gram.test_labels).double().mean().item()


@pytest.mark.parametrize("y", [[0, 2, 2, 0], [1, 2, 3, 1], [0, 1, 2.5, 0], [0, 1, 3, 0]])
def test_labels_that_are_not_those_of_classes_are_refused(y):
    with pytest.raises(UserError, match="y holds the labels"):
        ak.target_alignment(torch.eye(4), torch.tensor(y))


def test_a_measure_that_is_not_declared_for_several_classes_is_refused():
    class Own(Measure):
        name = "own"

    class Options(type(measure_options())):
        def chosen(self):
            return [Own()]

    with pytest.raises(UserError, match=r"holds own, .* or set several_classes = True in Own if it is"):
        Options().check_classes()
    measure_options().check_classes()
