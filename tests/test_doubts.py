"""Numeric warnings are recorded with the numbers, and a dead network does not end a run."""

import warnings

import pytest
import torch

from afterkernel import HardMarginSVM
from afterkernel.config import compose, to_config
from afterkernel.measures import Context
from afterkernel.records import read_run, write_record
from afterkernel.runs import numeric_warnings as doubts
from afterkernel.runs.evaluate import Evaluator
from afterkernel.runs.run import run
from afterkernel.svm import Outcome
from afterkernel.training.snapshot import Snapshot

OPTIONS = ["dataset=digits", "dataset.max_train=30", "dataset.max_test=20", "arch=mlp", "arch.budget=1300"]
OPTIONS += ["measure.num_images=10"]


def judged(*options, weights=None):
    config = to_config(compose([*OPTIONS, *options]))
    problem = config.dataset.load()
    network = config.arch.build(problem.image_shape)
    if weights is not None:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(weights)
    evaluator = Evaluator(config, problem, "run0")
    return evaluator.evaluate(network, Snapshot(0, 0, 0.7, 0.5, 0.5), training_end="epochs"), problem


def test_a_kernel_without_doubts_has_none():
    record, _ = judged("kernel.names=[ntk]")
    assert record.kernels[0].warnings == ()


def test_a_dead_network_is_recorded(tmp_path):
    record, problem = judged(weights=0.0)
    write_record(tmp_path, record, 1)
    assert read_run(tmp_path)[0, record.evaluation_id] == record
    ntk, conjugate = record.kernels
    # Its output's bias is all that the NTK sees, in the same way for every image.
    assert ntk.separable is False
    assert ntk.effective_rank == pytest.approx(1)
    assert (conjugate.margin, conjugate.gap, conjugate.effective_rank) == (None, None, None)
    assert (conjugate.n_support, conjugate.separable, conjugate.converged) == (0, False, False)
    assert conjugate.svm_test_error == problem.y_test.double().mean().item()
    assert conjugate.swap_invariance == 0
    assert "30 of 30 training images have an embedding of zero" in conjugate.warnings
    assert any("the network is dead" in text for text in conjugate.warnings)


@pytest.mark.parametrize("options", [(), ("dataset.classes=[0,1,2]",)], ids=["pair", "several classes"])
def test_images_of_several_classes_with_one_embedding_are_counted(options):
    record, _ = judged("kernel.names=[ntk]", *options, weights=0.0)
    text = "30 of 30 training images have the embedding of an image of another class, or a multiple of it"
    assert any(warning.startswith(text) for warning in record.kernels[0].warnings)


def test_an_svm_that_did_not_converge_is_reported():
    record, _ = judged("svm=jst", "svm.max_steps=1", "kernel.names=[ntk]")
    warning = record.kernels[0].warnings[-1]
    assert warning.startswith("the SVM did not converge: its relative duality gap is")
    assert warning.endswith("above svm.tol=0.001")


@pytest.mark.parametrize(
    ("error", "dtype", "doubtful"),
    [(2e-6, "float32", False), (2e-5, "float32", True), (1e-9, "float64", True), (None, "float32", False)],
)
def test_an_error_that_the_precision_does_not_explain_is_reported(error, dtype, doubtful):
    found = doubts.of_kernel(torch.eye(3), error, dtype)
    assert any("kernel_error" in text for text in found) is doubtful


def test_separability_is_reported():
    K, y = torch.ones(4, 4), torch.tensor([0, 1, 0, 1])
    svm = HardMarginSVM().fit(K, y)
    assert doubts.of_svm(svm, 1e-6) == ["the training data are not separable by this kernel: there is no hard margin"]
    svm.outcome_ = Outcome.UNDETERMINED
    assert "undetermined" in doubts.of_svm(svm, 1e-6)[0]
    svm.outcome_ = Outcome.BELOW_ROUNDING
    assert doubts.of_svm(svm, 1e-6) == [Outcome.BELOW_ROUNDING.message]


def test_python_s_warnings_are_recorded_once_and_still_shown(monkeypatch):
    original = Context.add

    def warned(*arguments):
        for _ in range(2):
            warnings.warn("overflow in\nsomething", RuntimeWarning, stacklevel=1)
        return original(*arguments)

    monkeypatch.setattr(Context, "add", warned)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        record, _ = judged()
    assert [kernel.warnings[-1] for kernel in record.kernels] == ["RuntimeWarning: overflow in"] * 2
    assert sum("overflow" in str(warning.message) for warning in shown) >= 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning):
            judged()


@pytest.mark.parametrize(("rate", "epochs", "warned"), [("1e-6", 1, True), ("0.3", 200, False)])
def test_a_network_that_has_not_learned_is_reported_at_the_end_of_its_run(tmp_path, caplog, rate, epochs, warned):
    words = [
        *OPTIONS,
        f"training.lr={rate}",
        f"training.epochs={epochs}",
        "snapshot.epochs=[0]",
        "kernel.names=[conjugate]",
    ]
    run(to_config(compose([*words, "kernel.names=[conjugate]", "logger=none"])), tmp_path)
    text = "the network has not learned: training loss above 0.66 at the end, 95 % of that of guessing; claims leave"
    assert (text in caplog.text) == warned
