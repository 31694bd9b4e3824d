"""Snapshots at losses, the loss target and the cap on steps, against a slow oracle that looks at every step."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from saved_snapshots import assert_same, saved

import afterkernel as ak
from afterkernel.data.batches import generator
from afterkernel.data.sources.digits import Digits
from afterkernel.errors import UserError
from afterkernel.training import snapshot
from afterkernel.training.execution import Execution
from afterkernel.training.loss_checks import Check, LossChecks, nearer
from afterkernel.training.metrics import loss_and_error
from afterkernel.training.options import Snapshots, Training
from afterkernel.training.train import train

CPU = torch.device("cpu")
STEPS_AN_EPOCH = 7
EPOCHS = 4


@pytest.fixture(scope="module")
def problem():
    return Digits(max_train=70, max_test=20).load()


def network_of(problem, arch):
    torch.manual_seed(0)
    network = ak.models.mlp(problem.image_shape, width=6, num_layers=1)
    if arch == "batch_norm":
        network.layers.insert(2, torch.nn.BatchNorm1d(6))
    return network


class BrokenOffError(Exception):
    pass


def fit(problem, run_dir, *, arch="mlp", at=(0,), losses=(), break_at=None, **options):
    """Train; break off in step `break_at`, counted from this start."""
    network, steps = network_of(problem, arch), 0

    def count(module, args):
        nonlocal steps
        steps += module.training
        if module.training and steps == break_at:
            raise BrokenOffError

    network.register_forward_pre_hook(count)
    training = Training(**{"lr": 0.5, "batch_size": 10, "epochs": EPOCHS, **options})
    execution = Execution(0, CPU, "this", checkpoint_every_s=0)
    return network, train(network, problem, training, Snapshots(list(at), list(losses)), run_dir, execution)


@pytest.fixture(scope="module", params=["mlp", "batch_norm"])
def oracle(request, problem, tmp_path_factory):
    """The architecture, and the weights of every step, each of a training that ends there."""
    states = []
    for step in range(EPOCHS * STEPS_AN_EPOCH + 1):
        folder = tmp_path_factory.mktemp("oracle")
        options = {"max_steps": step} if step else {"epochs": 0}
        network, summary = fit(problem, folder, arch=request.param, at=(), **options)
        assert summary.steps == step
        assert summary.stopped_by == ("epochs" if step in (0, EPOCHS * STEPS_AN_EPOCH) else "steps")
        states.append({name: value.clone() for name, value in network.state_dict().items()})
    return request.param, states


def subset(problem, images):
    n = len(problem.x_train)
    if images is None or images >= n:
        return torch.arange(n)
    return torch.randperm(n, generator=generator(3, 0, 0, 0))[:images].sort().values


def found_by_oracle(problem, oracle, checks, images, loss):
    """The step of the weights that are nearer to a loss at the first check at or below it; None if there is none."""
    arch, states = oracle
    network, chosen = network_of(problem, arch), subset(problem, images)
    before = 0
    losses = {}
    for step in range(len(states)):
        within = (step - 1) % STEPS_AN_EPOCH + 1
        if step and within not in {math.ceil(k * STEPS_AN_EPOCH / checks) for k in range(1, checks + 1)}:
            continue
        network.load_state_dict(states[step])
        losses[step], _ = loss_and_error(network, problem.x_train[chosen], problem.y_train[chosen])
        if step and losses[step] <= loss:
            gaps = {at: abs(math.log(losses[at]) - math.log(loss)) for at in (before, step)}
            return min(gaps, key=lambda at: (gaps[at], -at))
        before = step
    return None


LOSSES = (0.69, 0.5, 0.4, 0.39, 0.25, 0.2, 0.1, 0.05, 1e-9)


@pytest.mark.parametrize(("checks", "images"), [(1, None), (3, 20), (20, 15)])
def test_the_weights_nearer_to_each_loss_are_kept(problem, tmp_path, oracle, checks, images):
    arch, states = oracle
    options = {"loss_checks_per_epoch": checks, "loss_check_images": images}
    steps = {loss: found_by_oracle(problem, oracle, min(checks, STEPS_AN_EPOCH), images, loss) for loss in LOSSES}
    assert {None} < set(steps.values())
    network, summary = fit(problem, tmp_path, arch=arch, at=(0, 2), losses=LOSSES, **options)
    wanted = {step for step in steps.values() if step is not None} | {0, 2 * STEPS_AN_EPOCH, EPOCHS * STEPS_AN_EPOCH}
    assert summary.snapshots == sorted(wanted)
    for step, (facts, weights) in saved(tmp_path).items():
        assert all(torch.equal(weights[name], value) for name, value in states[step].items())
        network.load_state_dict(weights)
        # The recorded loss is that of these weights on all training images.
        assert facts["train_loss"] == loss_and_error(network, problem.x_train, problem.y_train)[0]
        assert facts["epoch"] == step / STEPS_AN_EPOCH


@pytest.mark.parametrize("target", [0.5, 0.39, 0.2])
def test_a_training_ends_at_the_weights_nearer_to_its_target(problem, tmp_path, oracle, target):
    arch, states = oracle
    step = found_by_oracle(problem, oracle, 3, 1000, target)
    if step is None:
        pytest.skip("this network does not reach it")
    options = {"loss_checks_per_epoch": 3, "loss_target": target}
    network, summary = fit(problem, tmp_path, arch=arch, at=range(EPOCHS), losses=(0.6, 0.01), **options)
    assert (summary.steps, summary.epochs, summary.stopped_by) == (step, step / STEPS_AN_EPOCH, "loss_target")
    assert summary.snapshots == sorted(saved(tmp_path))
    assert summary.snapshots[-1] == step
    assert all(torch.equal(value, states[step][name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("arch", "end"),
    [
        ("batch_norm", {}),
        ("mlp", {"loss_target": 0.1}),
        ("mlp", {"max_steps": 25}),
        ("mlp", {"loss_check": "paper"}),
    ],
    ids=str,
)
def test_broken_off_between_checks_it_ends_as_unbroken(problem, tmp_path, arch, end):
    options = {"arch": arch, "losses": (0.6, 0.4, 0.3, 0.25, 0.01), "loss_checks_per_epoch": 3, "at": (1,), **end}
    _, whole = fit(problem, tmp_path / "whole", **options)
    for break_at in (9, 20):
        folder = tmp_path / f"broken-{break_at}"
        with pytest.raises(BrokenOffError):
            fit(problem, folder, break_at=break_at, **options)
        _, again = fit(problem, folder, **options)
        facts = ("epochs", "steps", "stopped_by", "snapshots", "loss_target_reached")
        assert [getattr(again, name) for name in facts] == [getattr(whole, name) for name in facts]
        assert_same(saved(tmp_path / "whole"), saved(folder))


def test_checks_change_no_number_of_training(problem, tmp_path):
    plain, _ = fit(problem, tmp_path / "plain", arch="batch_norm")
    checked, _ = fit(problem, tmp_path / "checked", arch="batch_norm", losses=(1e-9,), loss_target=1e-9)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, checked.state_dict()[name])
    assert checked.training


def test_one_snapshot_serves_losses_that_are_reached_together(problem, tmp_path):
    _, summary = fit(problem, tmp_path, losses=(0.3, 0.3001, 0.3002), loss_checks_per_epoch=1)
    assert len(summary.snapshots) == 3  # the initialisation, that of the losses, and the end


def test_losses_out_of_reach_are_reported_once(problem, tmp_path, caplog):
    fit(problem, tmp_path, losses=(0.5, 1e-8, 1e-9))
    lines = [line for line in caplog.text.splitlines() if "not reached" in line]
    assert len(lines) == 1
    assert "snapshot.losses=[1e-08,1e-09] were not reached: the loss at the end, epoch 4, is" in lines[0]


def test_the_rule_of_the_paper_looks_after_epochs_10_30_70(problem, tmp_path):
    checks = LossChecks(Training(loss_check="paper"), problem, 0, STEPS_AN_EPOCH)
    due = [step / STEPS_AN_EPOCH for step in range(1, 700 * STEPS_AN_EPOCH) if checks.is_due(step)]
    assert due == [10, 30, 70, 150, 310, 630]
    assert len(checks.images) == len(problem.x_train)
    options = {"loss_check": "paper", "epochs": 40, "batch_size": 35, "lr": 0.3}
    network, training = network_of(problem, "mlp"), Training(**options, loss_target=0.2)
    summary = train(network, problem, training, Snapshots([0], [0.4]), tmp_path, Execution(0, CPU))
    losses = {facts["epoch"]: facts["train_loss"] for facts, _ in saved(tmp_path).values()}
    assert summary.stopped_by == "loss_target"
    assert (summary.epochs, list(losses)) == (30, [0, 10, 30])
    assert losses[30] <= 0.2 < losses[10] <= 0.4


def test_the_nearer_check_is_that_in_log_loss():
    before, now = Check(3, 0.4), Check(4, 0.1)
    assert nearer(before, now, 0.21) is before  # in the loss itself, 0.1 is nearer
    assert nearer(before, now, 0.19) is now
    assert nearer(None, now, 0.3) is now
    assert nearer(before, Check(4, 0.0), 0.1) is before


@pytest.mark.parametrize(("max_steps", "end"), [(10, "steps"), (7, "steps"), (28, "epochs"), (99, "epochs")])
def test_a_cap_on_steps_ends_training_with_a_snapshot(problem, tmp_path, max_steps, end):
    _, summary = fit(problem, tmp_path, at=(0, 1), max_steps=max_steps)
    last = min(max_steps, EPOCHS * STEPS_AN_EPOCH)
    assert (summary.steps, summary.epochs, summary.stopped_by) == (last, last / STEPS_AN_EPOCH, end)
    assert summary.snapshots == sorted({0, 7, last}) == sorted(saved(tmp_path))


@pytest.mark.parametrize("at", [(0, 1), ()])
@pytest.mark.parametrize("losses", [(), (0.01,)])
def test_a_training_that_diverges_ends_with_its_last_snapshot(problem, tmp_path, caplog, at, losses):
    _, summary = fit(problem, tmp_path, at=at, losses=losses, lr=1e30, loss_target=1e-3)
    assert (summary.stopped_by, summary.steps, summary.epochs, summary.snapshots) == ("diverged", 0, 0, [0])
    assert summary.loss_target_reached is False
    assert "training diverged in epoch 1" in caplog.text
    start = network_of(problem, "mlp").state_dict()
    facts, weights = saved(tmp_path)[0]
    assert facts["train_loss"] == pytest.approx(math.log(2), abs=0.2)
    assert all(torch.equal(weights[name], value) for name, value in start.items())
    assert snapshot.read_summary(tmp_path) == summary


def test_divergence_in_a_resumed_training_keeps_its_snapshots(problem, tmp_path, monkeypatch):
    from afterkernel.training.module import Classifier

    step = Classifier.training_step

    def harmed(self, batch):
        found = step(self, batch)
        if self.trainer.global_step >= 16:
            found["loss"] = found["loss"] * math.nan
        return found

    monkeypatch.setattr(Classifier, "training_step", harmed)
    with pytest.raises(BrokenOffError):
        fit(problem, tmp_path, at=(1, 2, 3), break_at=16)
    _, summary = fit(problem, tmp_path, at=(1, 2, 3))
    assert (summary.stopped_by, summary.steps, summary.snapshots) == ("diverged", 14, [7, 14])


def test_a_network_without_a_finite_loss_is_a_mistake(problem, tmp_path):
    network = network_of(problem, "mlp")
    torch.nn.init.constant_(next(network.parameters()), math.nan)
    with pytest.raises(UserError, match="the initial network"):
        train(network, problem, Training(epochs=1), Snapshots([]), tmp_path, Execution(0, CPU))


class Fixed(torch.nn.Module):
    """A network whose loss on each image is chosen; it counts the images that it sees."""

    def __init__(self, losses):
        super().__init__()
        # One logit z of an image labelled 1 has the loss log(1 + exp(-z)).
        self.logits = torch.nn.Parameter(-torch.special.expm1(torch.tensor(losses, dtype=torch.float64)).log())
        self.seen = 0

    def forward(self, images):
        self.seen += len(images)
        return self.logits[images.long()]


def checks_of(problem, losses):
    checks = LossChecks(Training(), problem, seed=0, steps_an_epoch=1)
    checks.images, checks.labels = torch.arange(len(losses)), torch.ones(len(losses), dtype=torch.int64)
    checks._last = torch.zeros(len(losses), dtype=torch.float64)
    return checks


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 20), min_size=1, max_size=40), st.floats(0.1, 3), st.integers(0, 2))
def test_a_check_misses_no_loss_that_is_looked_for(problem, losses, factor, before):
    network, checks = Fixed(losses), checks_of(problem, losses)
    exact = checks.loss(network) if before == 2 else sum(losses) / len(losses)
    for step in range(1 + before):  # the order of the images is that of an earlier check
        found = checks.check(network, step, exact * factor).loss
        assert found == pytest.approx(exact) if factor > 1 else found is None or found == pytest.approx(exact)


def test_a_check_far_above_what_is_looked_for_evaluates_the_hardest_images_alone(problem):
    losses = [0.01] * 95 + [20.0] * 5
    network, checks = Fixed(losses), checks_of(problem, losses)
    assert checks.check(network, 0, 1.1).loss == pytest.approx(1.0095)
    network.seen = 0
    assert checks.check(network, 1, 0.5).loss is None
    assert network.seen == 10


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_weights_whose_losses_are_not_finite_are_found_by_a_part_of_the_images(problem, broken):
    network, checks = Fixed([2.0] * 20), checks_of(problem, [2.0] * 20)
    network.logits.data[:] = -broken
    assert not math.isfinite(checks.check(network, 0, 0.1).loss)
