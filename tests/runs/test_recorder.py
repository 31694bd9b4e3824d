"""Records of a training loop that knows nothing of afterkernel."""

import logging

import numpy as np
import pytest
import torch
from recorder_case import FEW, Net, data, numbers, recorder, train
from torch import nn

import afterkernel as ak
from afterkernel.errors import UserError
from afterkernel.records import read_run
from afterkernel.records.answers import unpack
from afterkernel.runs.evaluate import Evaluator
from afterkernel.runs.provenance import cpu_model
from afterkernel.runs.run_lock import run_lock


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The recorder of a whole training, and what it has recorded by step."""
    made = recorder(tmp_path_factory.mktemp("runs") / "mine", seed=5, tags={"width": 3}, learning_rate=0.2)
    train(made, epoch=lambda step: step / 2)
    return made, {step: record for (step, _), record in read_run(made.run_dir, made.run_id).items()}


class Difference(nn.Module):
    """The two logits of a model as one, written out."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        """The logit of class 1 minus that of class 0."""
        a, b = self.model(x).unbind(1)
        return b - a


def test_answers_image_by_image_have_the_recorded_errors(recorded):
    for record in recorded[1].values():
        assert unpack(record.net_test_wrong, record.n_test).mean() == record.net_test_error
        for kernel in record.kernels:
            assert unpack(kernel.svm_test_wrong, record.n_test).mean() == kernel.svm_test_error


def test_a_record_names_the_model_of_the_cpu(recorded):
    assert all(record.provenance["cpu"] == cpu_model() for record in recorded[1].values())


def model_at(step):
    return Difference(train(steps=step)[0])


def test_the_numbers_are_those_of_the_same_model_by_hand(recorded):
    _, records = recorded
    (x, y), (x_test, y_test) = data(24, 0), data(12, 1)
    before = None
    for step, record in records.items():
        model = model_at(step)
        K, K_test = ak.ntk(model, x), ak.ntk(model, x_test, x)
        norm = 1e-4 + K.diagonal().double().sqrt().mean()
        svm = ak.HardMarginSVM().fit(K / norm**2, y)
        ntk = next(kernel for kernel in record.kernels if kernel.kernel == "ntk")
        assert ntk.margin == pytest.approx(svm.margin_, rel=1e-4)
        wrong = (svm.predict(K_test / norm**2) != y_test).double().mean()
        assert ntk.svm_test_error == pytest.approx(float(wrong))
        outputs, outputs_test = (model.eval()(one).detach() for one in (x, x_test))
        assert record.train_loss == pytest.approx(
            float(nn.functional.binary_cross_entropy_with_logits(outputs, y.float())), rel=1e-5
        )
        assert record.net_test_error == pytest.approx(float(((outputs_test > 0) != (y_test > 0)).double().mean()))
        sample = torch.randperm(24, generator=torch.Generator().manual_seed(0))[:16].sort().values
        K = K[sample][:, sample]
        if before is None:
            first = K
            assert ntk.distance_to_initial == pytest.approx(0, abs=1e-9)
        else:
            assert ntk.distance_to_initial == pytest.approx(ak.kernel_distance(K, first), rel=1e-3)
            # Two steps are one epoch here.
            assert ntk.kernel_velocity == pytest.approx(ak.kernel_distance(K, before), rel=1e-3)
        before = K


def test_what_is_known_of_the_training_is_recorded(recorded):
    made, records = recorded
    assert made.run_id == made.run_dir.name
    assert made.run_id.startswith("net-seed5-")
    assert list(records) == [0, 2, 4]
    one = records[2]
    assert (one.sweep, one.arch, one.seed, one.learning_rate) == ("mine", "net", 5, 0.2)
    assert (one.epoch, one.width, one.final) == (1.0, None, False)
    assert (one.minus, one.plus, one.n_train, one.n_test) == ("0", "1", 24, 12)
    assert one.dataset == f"data-{made.problem.fingerprint[:8]}"
    assert one.parameters == sum(value.numel() for value in Net().parameters())
    assert one.config["tags"] == {"width": 3}
    assert one.config_sha256.startswith(made.run_id.rpartition("-")[2])
    frame = ak.results(made.directory)
    assert frame["step"].tolist() == [0, 0, 2, 2, 4, 4]
    assert frame["width"].isna().all()


def state_of(model, optimiser):
    buffers = [value.clone() for value in model.state_dict().values()]
    gradients = [value.grad.clone() for value in model.parameters()]
    momenta = [value["momentum_buffer"].clone() for value in optimiser.state.values()]
    # Not Python's random numbers: the checks of types in tests draw some.
    drawn = torch.get_rng_state(), torch.tensor(np.random.get_state()[1].astype(np.int64))
    return [*buffers, *gradients, *momenta, *drawn]


def test_the_training_ends_bit_for_bit_as_without_it(recorded, tmp_path):
    made, ends = recorder(tmp_path, kernels=["conjugate"]), []
    for given in (made, None):
        np.random.seed(0)
        model, optimiser, _ = train(given)
        ends.append((state_of(model, optimiser), model.calls, model.training))
    for a, b in zip(ends[0][0], ends[1][0], strict=True):
        assert torch.equal(a, b)
    assert ends[0][1:] == ends[1][1:] == (5, True)


@pytest.mark.parametrize("context", ["no_grad", "inference_mode", "autocast", "evaluation mode"])
def test_the_state_in_which_record_is_called_does_not_matter(tmp_path, recorded, context):
    model, optimiser, _ = train(steps=2)
    before = state_of(model, optimiser)
    made = recorder(tmp_path, seed=5, tags={"width": 3}, learning_rate=0.2)
    if context == "evaluation mode":
        model.eval()
        found = made.record(model, step=2)
    else:
        entered = torch.autocast("cpu") if context == "autocast" else getattr(torch, context)()
        with entered:
            found = made.record(model, step=2)
    assert model.training == (context != "evaluation mode")
    for a, b in zip(before, state_of(model, optimiser), strict=True):
        assert torch.equal(a, b)
    wanted = {kernel["kernel"]: kernel["margin"] for kernel in numbers(recorded[1][2])["kernels"]}
    # The SVMs start elsewhere than after the snapshot of step 0.
    assert {kernel.kernel: kernel.margin for kernel in found.kernels} == pytest.approx(wanted, rel=1e-6)


def test_the_same_loop_again_computes_nothing_and_other_weights_are_refused(tmp_path, monkeypatch):
    train(recorder(tmp_path, kernels=["conjugate"], steps=[0, 1]), steps=2)
    monkeypatch.setattr(Evaluator, "evaluate_kernels", lambda *_: pytest.fail("computed again"))
    again = recorder(tmp_path, kernels=["conjugate"], steps=[0, 1])
    files = sorted((again.run_dir / "records").iterdir())
    before = [path.read_bytes() for path in files]
    train(again, steps=2)
    with pytest.raises(UserError, match=r"holds a record of step 1 of other weights: the training is not the one"):
        again.record(Net(), step=1)
    assert sorted((again.run_dir / "records").iterdir()) == files
    assert [path.read_bytes() for path in files] == before


def test_a_training_that_continues_in_another_process_has_the_same_numbers(tmp_path, recorded):
    made, whole = recorded
    given = {"seed": 5, "tags": {"width": 3}, "learning_rate": 0.2}
    epoch = {"epoch": lambda step: step / 2}
    stopped = train(recorder(tmp_path / "mine", **given), steps=3, **epoch)
    later = recorder(tmp_path / "mine", **given)
    assert later.run_id == made.run_id
    train(later, start=stopped, **epoch)
    records = read_run(later.run_dir, later.run_id)
    assert {step: numbers(record) for (step, _), record in records.items()} == {
        step: numbers(record) for step, record in whole.items()
    }


def test_a_lost_sample_leaves_out_distances_and_is_reported(tmp_path, caplog):
    given = {"kernels": ["conjugate"], "steps": [0, 2]}
    stopped = train(recorder(tmp_path, **given), steps=1)
    later = recorder(tmp_path, **given)
    for path in (later.run_dir / "supports").iterdir():
        path.unlink()
    with caplog.at_level(logging.WARNING):
        train(later, start=stopped, steps=3)
    assert "is missing or damaged: distances to step 0 are left out" in caplog.text
    (last,) = [record for (step, _), record in read_run(later.run_dir).items() if step == 2]
    assert last.kernels[0].distance_to_initial is None


def test_the_end_is_marked_and_moves_on_with_the_training(tmp_path):
    made = recorder(tmp_path, kernels=["conjugate"])
    model = Net()

    def ends():
        return {step: record.final for (step, _), record in read_run(made.run_dir).items()}

    first = made.record(model, step=0)
    assert ends() == {0: False}
    assert made.record(model, step=0, final=True).kernels == first.kernels
    assert ends() == {0: True}
    assert made.record(model, step=0).final
    made.record(model, step=1, final=True)
    assert ends() == {0: False, 1: True}


@pytest.mark.parametrize(
    "other",
    [
        {"name": "other"},
        {"seed": 1},
        {"tags": {"width": 4}},
        {"train": data(24, 2)},
        {"test": data(12, 3)},
        {"options": [*FEW, "svm.tol=1e-7"]},
        {"kernels": ["ntk"]},
        {"learning_rate": 0.1},
        {"dataset": "named"},
    ],
    ids=lambda given: next(iter(given)),
)
def test_the_id_depends_on_everything_that_is_given(tmp_path, other):
    assert recorder(tmp_path, **other).run_id != recorder(tmp_path).run_id


def test_the_id_does_not_depend_on_when_it_records(tmp_path):
    assert recorder(tmp_path, steps=[7], epochs=[1], losses=[0.1]).run_id == recorder(tmp_path).run_id


def test_a_loss_is_recorded_once_also_by_a_training_that_continues(tmp_path):
    given = {"kernels": ["conjugate"], "steps": [], "losses": [0.5]}
    made = recorder(tmp_path, **given)
    assert not made.due(step=0, loss=0.7)
    assert made.due(step=3, loss=0.4)
    made.record(Net(), step=3)
    later = recorder(tmp_path, **given)
    assert not later.due(step=4, loss=0.3)
    assert not recorder(tmp_path, **given).due(step=0, loss=0.7)
    assert recorder(tmp_path, **given).due(step=3, loss=0.4)


def test_one_process_at_a_time_records_a_run(tmp_path):
    made = recorder(tmp_path, kernels=["conjugate"])
    with run_lock(made.run_dir), pytest.raises(UserError, match=r"process .* records .*: give another name"):
        made.record(Net(), step=0)


class Tokens(nn.Module):
    """A model of tokens (n, t) with an output as transformers' models give it."""

    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(9, 4), nn.Linear(4, 2)

    def forward(self, tokens):
        """Logits in a dictionary."""
        return {"hidden": None, "logits": self.out(self.embed(tokens).mean(1).tanh())}


def test_samples_of_any_shape_and_labels_of_any_two_numbers_are_taken(tmp_path):
    tokens, test = (np.random.default_rng(seed).integers(0, 9, (14, 3)) for seed in (0, 1))
    labels = np.where(np.arange(14) % 2, 8.0, 3.0)
    pairs = {"train": (tokens, labels), "test": (test, labels)}
    made = ak.Recorder(tmp_path, **pairs, name="tokens")
    found = made.record(Tokens(), step=0)
    assert (found.minus, found.plus, found.epoch) == ("3", "8", None)
    assert all(kernel.swap_invariance is None for kernel in found.kernels)
    assert all(kernel.target_alignment is not None for kernel in found.kernels)
    by_hand = ak.Recorder(
        tmp_path, **pairs, name="tokens", tags={"forward": 1}, forward=lambda model, x: model(x)["logits"]
    )
    torch.manual_seed(0)
    one = by_hand.record(model := Tokens(), step=0)
    other = ak.Recorder(tmp_path, **pairs, name="tokens", tags={"forward": 2}).record(model, step=0)
    assert [kernel.margin for kernel in one.kernels] == [kernel.margin for kernel in other.kernels]


def test_several_classes_are_those_of_one_vs_rest_on_the_trace_kernel(tmp_path):
    pairs = {name: (data(n, seed)[0], 5 + torch.arange(n) % 3) for name, n, seed in (("train", 24, 0), ("test", 12, 1))}
    made = recorder(tmp_path, **pairs, kernels=["ntk"], classes=("a", "b", "c"))
    model = Net(outputs=3)
    found = made.record(model, step=0)
    assert (found.minus, found.plus, found.classes) == ("", "", ("a", "b", "c"))
    (x, y), (x_test, y_test) = pairs["train"], pairs["test"]
    K, K_test = (ak.ntk(model, one, x, output="trace") for one in (x, x_test))
    norm = 1e-4 + K.diagonal().double().sqrt().mean()
    machines = ak.OneVsRestSVM().fit(K / norm**2, y - 5)
    wrong = (machines.predict(K_test / norm**2) != y_test - 5).double().mean()
    assert found.kernels[0].svm_test_error == pytest.approx(float(wrong))
    outputs = model.eval()(x_test).detach()
    assert found.net_test_error == pytest.approx(float((outputs.argmax(1) != y_test - 5).double().mean()))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"train": data(24, 0)[0]}, r"train is not a pair: give it as train=\(samples, labels\)."),
        ({"train": (data(24, 0)[0], [0, 1])}, r"train\[1\] is a list: give a tensor or a numpy array"),
        ({"train": (data(24, 0)[0], torch.ones(24))}, r"train holds the labels of one class: give labels of two"),
        (
            {"train": (data(24, 0)[0], torch.arange(24) % 3 / 2)},
            r"train holds labels such as 0: those of several classes",
        ),
        ({"train": (data(24, 0)[0], torch.ones(5))}, r"train has 24 samples and 5 labels"),
        ({"test": (data(12, 0)[0], torch.arange(12))}, r"test holds the label 2, which train does not"),
        ({"classes": ["cat"]}, r"classes=\['cat'\] names 1 classes and train holds 2: name each in the order of the"),
        ({"kernels": ["ntl"]}, r"kernels=\['ntl'\] holds 'ntl' \(did you mean ntk\?\): choose from ntk, conjugate"),
        ({"kernels": []}, r"kernels=\[\] is empty"),
        ({"options": ["training.lr=0.1"]}, r"options: training.lr=0.1 has no effect on a Recorder"),
        ({"options": ["svm.tol=-1"]}, r"svm.tol=-1"),
        ({"options": ["measure.shift_px=[6]"]}, r"measure.shift_px=6 moves 6x6 images entirely out of the frame"),
        ({"name": "a/b"}, r"name='a/b' can't name a file"),
        ({"seed": 0.5}, r"seed=0.5 is not a whole number of at least 0."),
        ({"tags": ["a"]}, r"tags=\['a'\] is not a dictionary"),
        ({"tags": {"a": [1]}}, r"tags holds 'a': \[1\]: a tag is a name with a string"),
        ({"steps": [-1]}, r"steps=\[-1\] holds -1"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(tmp_path, given, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        recorder(tmp_path, **given)
    assert "\n" not in str(caught.value)


def test_invariances_of_samples_that_are_no_images_are_refused_by_name(tmp_path):
    flat = {name: (data(n, 0)[0].flatten(1), data(n, 0)[1]) for name, n in (("train", 24), ("test", 12))}
    with pytest.raises(UserError, match=r"measure.names holds invariance, which is of images: the samples have shape"):
        recorder(tmp_path, **flat, options=["measure.names=[invariance]"])


def test_models_that_have_no_logit_and_steps_that_are_none_are_refused(tmp_path):
    made = recorder(tmp_path, kernels=["conjugate"], steps=[])
    with pytest.raises(
        UserError,
        match=r"the model's output has shape \(2, 3\), and one or two logits are needed for each sample: give forward=",
    ):
        made.record(Net(outputs=3), step=0)
    with pytest.raises(UserError, match=r"step=1.5 is not a whole number of at least 0."):
        made.record(Net(), step=1.5)
    with pytest.raises(UserError, match=r"nothing is chosen: give the Recorder steps=, epochs= or losses="):
        made.due(step=0)
    with pytest.raises(UserError, match=r"not a torch.nn.Module"):
        made.record(lambda x: x, step=0)


def test_samples_that_were_changed_in_place_are_refused(tmp_path):
    x, y = data(24, 0)
    made = recorder(tmp_path, train=(x, y))
    x *= 2
    with pytest.raises(UserError, match=r"the samples were changed in place since the Recorder was made"):
        made.record(Net(), step=0)


def test_a_training_of_several_processes_is_refused(tmp_path, monkeypatch):
    made = recorder(tmp_path, kernels=["conjugate"])
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(UserError, match=r"the training runs in 2 processes, and a Recorder works in a training of one"):
        made.record(Net(), step=0)
