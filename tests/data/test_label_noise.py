"""Wrong training labels: how many, which, and that nothing else changes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afterkernel.config import compose, to_config
from afterkernel.data.label_noise import with_label_noise
from afterkernel.data.problem import Problem
from afterkernel.data.sources.digits import Digits
from afterkernel.records import read_records
from afterkernel.runs.run import reevaluate, run
from afterkernel.runs.saved_grams import saved_grams


@pytest.fixture(scope="module")
def problem():
    return Digits(max_train=100, max_test=20).load()


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0, 1), seed=st.integers(0, 2**31 - 1))
def test_the_share_of_the_labels_is_wrong(problem, share, seed):
    noisy = with_label_noise(problem, share, seed)
    assert (noisy.y_train != problem.y_train).sum() == round(share * 100)
    assert torch.equal(noisy.y_test, problem.y_test)
    assert noisy.x_train is problem.x_train
    assert torch.equal(noisy.y_train, with_label_noise(problem, share, seed).y_train)


def test_labels_depend_on_the_seed_and_change_the_fingerprint(problem):
    first, second = (with_label_noise(problem, 0.2, seed) for seed in (0, 1))
    assert not torch.equal(first.y_train, second.y_train)
    assert len({first.fingerprint, second.fingerprint, problem.fingerprint}) == 3
    assert with_label_noise(problem, 0.0, 0) is problem


def test_of_several_classes_each_other_one_is_as_likely():
    labels, images = torch.arange(3000) % 3, torch.zeros(3000, 1, 1, 1)
    several = Problem(images, labels, images, labels, "", "", classes=("a", "b", "c"))
    noisy = with_label_noise(several, 0.5, 0).y_train
    changed = noisy != labels
    assert changed.sum() == 1500
    steps = ((noisy - labels) % 3)[changed]
    assert 0.45 < (steps == 1).double().mean() < 0.55


OPTIONS = [
    *("dataset.max_train=40", "dataset.max_test=20", "arch=mlp", "arch.width=5", "training.epochs=1", "seed=3"),
    *("snapshot.epochs=[0]", "kernel.names=[ntk]", "measure.names=[]", "logger=none", "trainer.threads=1"),
    *("keep=[gram,checkpoint]", "training.label_noise=0.25"),
]


def test_a_run_uses_the_wrong_labels_for_all_that_it_computes(tmp_path):
    config = to_config(compose(OPTIONS))
    run(config, tmp_path)
    clean = config.dataset.load()
    noisy = with_label_noise(clean, 0.25, 3)
    first, last = read_records(tmp_path)
    saved = saved_grams(tmp_path, 1, "ntk")
    assert saved.y_train.tolist() == noisy.y_train.tolist()
    assert saved.y_test.tolist() == clean.y_test.tolist()
    assert first.provenance["data_sha256"] == last.provenance["data_sha256"] == noisy.fingerprint
    assert first.config["training"]["label_noise"] == 0.25
    reevaluate(config, tmp_path, config.identity.run_id)
    assert [record.kernels[0].svm_test_error for record in read_records(tmp_path)] == [
        record.kernels[0].svm_test_error for record in (first, last)
    ]


def test_a_run_has_the_kernel_of_its_scaled_output(tmp_path):
    rest = [word for word in OPTIONS if "label_noise" not in word]
    norms = []
    for scale in (1, 20):
        config = to_config(compose([*rest, f"training.output_scale={scale}", "training.centered_output=true"]))
        run(config, tmp_path / str(scale))
        records = read_records(tmp_path / str(scale))
        norms.append(torch.tensor([record.kernels[0].embedding_norm - 1e-4 for record in records]))
    # At epoch 0 the networks are equal; later the larger one has changed less.
    assert norms[1][0] == pytest.approx(20 * norms[0][0].item(), rel=1e-5)
    assert abs(norms[1][1] / norms[1][0] - 1) < abs(norms[0][1] / norms[0][0] - 1)
