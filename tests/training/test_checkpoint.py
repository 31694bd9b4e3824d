"""An interrupted training continues from its checkpoint and ends with bit-identical numbers."""

import io
import json

import pytest
import torch
from saved_snapshots import assert_same, saved

import afterkernel as ak
from afterkernel.data.sources.digits import Digits
from afterkernel.errors import UserError
from afterkernel.records.files import CHECKPOINT
from afterkernel.training import snapshot
from afterkernel.training.execution import Execution
from afterkernel.training.options import Snapshots, Training
from afterkernel.training.train import train

CPU = torch.device("cpu")
STEPS_AN_EPOCH = 3


class BrokenOffError(Exception):
    pass


@pytest.fixture(scope="module")
def problem():
    return Digits(max_train=70, max_test=20).load()


def fit(problem, run_dir, *, break_at=None, seed=0, epochs=6, noise=False, identity="this", **options):
    """Train; break off in step `break_at`, counted from this start."""
    torch.manual_seed(seed)
    network = ak.models.mlp(problem.image_shape, width=6, num_layers=1)
    if noise:
        network.register_forward_pre_hook(
            lambda module, args: (args[0] * (0.5 + torch.rand(1)),) if module.training else None
        )
    steps = 0

    def count(module, args):
        nonlocal steps
        steps += module.training
        if module.training and steps == break_at:
            raise BrokenOffError

    network.register_forward_pre_hook(count)
    return train(
        network,
        problem,
        Training(epochs=epochs, **{"lr": 0.1, **options}),
        Snapshots([0, 2, 4]),
        run_dir,
        Execution(seed, CPU, identity, checkpoint_every_s=0),
    )


@pytest.fixture(scope="module", params=["none", "rotation_shift"])
def whole(request, problem, tmp_path_factory):
    """Whether images are augmented, and what an unbroken training saves."""
    folder = tmp_path_factory.mktemp("whole")
    fit(problem, folder, augment=request.param)
    return request.param, saved(folder)


@pytest.mark.parametrize("break_at", [1, 3, 4, 8, 10, 13, 18])
def test_broken_off_anywhere_it_ends_as_unbroken(problem, tmp_path, break_at, whole):
    augment, expected = whole
    with pytest.raises(BrokenOffError):
        fit(problem, tmp_path / "broken", break_at=break_at, augment=augment)
    assert (tmp_path / "broken" / CHECKPOINT).exists() == (break_at > STEPS_AN_EPOCH)
    summary = fit(problem, tmp_path / "broken", augment=augment)
    assert summary.epochs == 6
    assert_same(expected, saved(tmp_path / "broken"))
    assert not (tmp_path / "broken" / CHECKPOINT).exists()


def test_broken_off_many_times(problem, tmp_path):
    fit(problem, tmp_path / "whole")
    for _ in range(4):
        with pytest.raises(BrokenOffError):
            fit(problem, tmp_path / "broken", break_at=STEPS_AN_EPOCH + 1)
    fit(problem, tmp_path / "broken", break_at=STEPS_AN_EPOCH * 2 + 1)  # two epochs are left
    assert_same(saved(tmp_path / "whole"), saved(tmp_path / "broken"))


def test_it_continues_and_does_not_start_over(problem, tmp_path):
    with pytest.raises(BrokenOffError):
        fit(problem, tmp_path, break_at=5 * STEPS_AN_EPOCH + 1)
    fit(problem, tmp_path, break_at=STEPS_AN_EPOCH + 1)  # one epoch is left


def test_a_loss_target_ends_a_resumed_training_at_the_same_epoch(problem, tmp_path):
    options = {"lr": 0.5, "epochs": 40, "loss_target": 0.45}
    whole = fit(problem, tmp_path / "whole", **options)
    assert 3 < whole.epochs < 40
    for break_at in (2 * STEPS_AN_EPOCH + 1, STEPS_AN_EPOCH * (whole.epochs - 2)):
        folder = tmp_path / f"broken-{break_at}"
        with pytest.raises(BrokenOffError):
            fit(problem, folder, break_at=break_at, **options)
        again = fit(problem, folder, **options)
        assert (again.epochs, again.stopped_by) == (whole.epochs, "loss_target")
        assert_same(saved(tmp_path / "whole"), saved(folder))


def test_random_numbers_drawn_in_training_continue(problem, tmp_path):
    fit(problem, tmp_path / "whole", noise=True)
    with pytest.raises(BrokenOffError):
        fit(problem, tmp_path / "broken", break_at=8, noise=True)
    fit(problem, tmp_path / "broken", noise=True)
    assert_same(saved(tmp_path / "whole"), saved(tmp_path / "broken"))


def test_time_of_training_adds_up(problem, tmp_path):
    with pytest.raises(BrokenOffError):
        fit(problem, tmp_path, break_at=4 * STEPS_AN_EPOCH + 1)
    before = snapshot.read(snapshot.paths(tmp_path)[-1]).wall_s_train
    summary = fit(problem, tmp_path)
    times = [snapshot.read(path).wall_s_train for path in snapshot.paths(tmp_path)]
    assert times == sorted(times)
    assert summary.wall_s >= times[-1] > before > 0


def later(data):
    head, _, body = data.partition(b"\n")
    return json.dumps(json.loads(head) | {"version": 99}).encode() + b"\n" + body


class Payload:
    def __reduce__(self):
        return print, ("this must never be printed",)


def harmful(data):
    import hashlib

    buffer = io.BytesIO()
    torch.save({"state_dict": Payload()}, buffer)
    head = json.loads(data.partition(b"\n")[0])
    head["sha256"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    return json.dumps(head).encode() + b"\n" + buffer.getvalue()


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda data: data[:-100], "is truncated or was altered"),
        (lambda data: data[:40], "is truncated or was altered"),
        (lambda data: b"", "is truncated or was altered"),
        (lambda data: b"[1]\n", "is truncated or was altered"),
        (lambda data: data[:900] + bytes([data[900] ^ 1]) + data[901:], "is truncated or was altered"),
        (later, "is a checkpoint of version 99 and this afterkernel reads 1"),
        (harmful, "is truncated or was altered"),
    ],
)
def test_a_damaged_checkpoint_is_reported_and_left_unchanged(problem, tmp_path, harm, sentence, capsys):
    with pytest.raises(BrokenOffError):
        fit(problem, tmp_path, break_at=8)
    path = tmp_path / CHECKPOINT
    path.write_bytes(harm(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(UserError, match=sentence):
        fit(problem, tmp_path)
    assert path.read_bytes() == before
    assert "never be printed" not in capsys.readouterr().out


def test_the_checkpoint_of_another_training_is_refused(problem, tmp_path):
    with pytest.raises(BrokenOffError):
        fit(problem, tmp_path, break_at=8, identity="other")
    with pytest.raises(UserError, match="of another training"):
        fit(problem, tmp_path)
