"""Optimisers, schedule, weight decay, output scale, centred output and BatchNorm: against plain loops of torch."""

import copy
import json
import math

import pytest
import torch
import torch.nn.functional as F

import afterkernel as ak
from afterkernel.data.batches import Batches
from afterkernel.data.sources.digits import Digits
from afterkernel.errors import UserError
from afterkernel.records.files import CHECKPOINT
from afterkernel.training import snapshot
from afterkernel.training.execution import Execution
from afterkernel.training.metrics import logits
from afterkernel.training.options import Snapshots, Training
from afterkernel.training.train import train

CPU = torch.device("cpu")


class BrokenOffError(Exception):
    pass


@pytest.fixture(scope="module")
def problem():
    return Digits(max_train=70, max_test=20).load()


def initial(problem, arch="mlp", scale=1.0):
    torch.manual_seed(0)
    sizes = {
        "mlp": {"width": 6, "num_layers": 1},
        "resnet": {"width": 1, "num_layers": 10},
        "vit": {"width": 4, "depth": 1},
    }
    network = getattr(ak.models, arch)(problem.image_shape, **sizes[arch])
    network.output_scale = scale
    return network


def fit(problem, run_dir, *, network=None, break_at=None, epochs=4, **options):
    """Train `network`, and break off in step `break_at` of this start."""
    network, steps = initial(problem) if network is None else network, 0

    def count(module, args):
        nonlocal steps
        steps += module.training
        if module.training and steps == break_at:
            raise BrokenOffError

    handle = network.register_forward_pre_hook(count)
    training = Training(epochs=epochs, **{"lr": 0.1, **options})
    execution = Execution(0, CPU, "this", checkpoint_every_s=0)
    try:
        return network, train(network, problem, training, Snapshots([0, 1, 2]), run_dir, execution)
    finally:
        handle.remove()


def contents(run_dir):
    """Every snapshot: its facts without the time, and its weights."""
    found = {}
    for path in snapshot.paths(run_dir):
        facts = json.loads(path.read_text())
        del facts["wall_s_train"], facts["sha256"]
        found[path.name] = facts, torch.load(path.with_suffix(".pt"), weights_only=True)
    return found


SGD, ADAM = torch.optim.SGD, torch.optim.AdamW
LOOPS = {
    "momentum": ({"momentum": 0.9}, lambda p: SGD(p, 0.1, momentum=0.9)),
    "weight decay": ({"weight_decay": 0.3}, lambda p: SGD(p, 0.1, weight_decay=0.3)),
    "adam": ({"optimizer": "adam"}, lambda p: torch.optim.Adam(p, 0.1)),
    "adam with weight decay": ({"optimizer": "adam", "weight_decay": 0.3}, lambda p: ADAM(p, 0.1, weight_decay=0.3)),
    "scale": ({"output_scale": 7.0, "lr": 1.0}, lambda p: SGD(p, 1.0)),
    "centred": ({"output_scale": 0.3, "centered_output": True, "momentum": 0.5}, lambda p: SGD(p, 0.1, momentum=0.5)),
}


@pytest.mark.parametrize("cosine", [False, True], ids=["constant", "cosine"])
@pytest.mark.parametrize(("options", "make"), LOOPS.values(), ids=LOOPS.keys())
def test_training_is_a_plain_loop_of_torch(problem, tmp_path, options, make, cosine):
    scale = options.get("output_scale", 1.0)
    given = options | ({"lr_schedule": "cosine"} if cosine else {})
    trained, _ = fit(problem, tmp_path, network=initial(problem, scale=scale), epochs=2, **given)
    plain, start = initial(problem), initial(problem)
    optimizer = make(plain.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=6) if cosine else None
    batches = Batches(problem.x_train, problem.y_train, batch_size=32, seed=0)
    for epoch in range(2):
        batches.set_epoch(epoch)
        for images, labels in batches:
            optimizer.zero_grad()
            outputs = plain(images)
            if options.get("centered_output"):
                outputs = outputs - start(images).detach()
            (F.binary_cross_entropy_with_logits(scale * outputs, labels.float()) / scale**2).backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
    for ours, theirs in zip(trained.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


RESUMED = {
    "momentum and cosine": ("mlp", {"momentum": 0.9, "lr_schedule": "cosine", "weight_decay": 0.01}),
    "adam and cosine": ("mlp", {"optimizer": "adam", "lr_schedule": "cosine", "lr": 0.01}),
    "centred": ("mlp", {"centered_output": True, "momentum": 0.9, "output_scale": 4.0}),
    "resnet": ("resnet", {"momentum": 0.9}),
    "vit": ("vit", {"optimizer": "adam", "lr": 0.01}),
}


@pytest.mark.parametrize(("arch", "options"), RESUMED.values(), ids=RESUMED.keys())
def test_a_resumed_training_ends_with_the_same_bits(problem, tmp_path, arch, options):
    scale = options.get("output_scale", 1.0)
    fit(problem, tmp_path / "whole", network=initial(problem, arch, scale), **options)
    with pytest.raises(BrokenOffError):
        fit(problem, tmp_path / "broken", network=initial(problem, arch, scale), break_at=8, **options)
    assert (tmp_path / "broken" / CHECKPOINT).exists()
    fit(problem, tmp_path / "broken", network=initial(problem, arch, scale), **options)
    one, other = contents(tmp_path / "whole"), contents(tmp_path / "broken")
    assert one.keys() == other.keys()
    assert len(one) == 4
    for name, (facts, weights) in one.items():
        assert facts == other[name][0]
        assert all(torch.equal(weights[key], other[name][1][key]) for key in weights)


def test_a_resumed_training_repeats_no_step(problem, tmp_path):
    with pytest.raises(BrokenOffError):
        fit(problem, tmp_path, break_at=10, momentum=0.9, lr_schedule="cosine")
    fit(problem, tmp_path, break_at=4, momentum=0.9, lr_schedule="cosine")  # one epoch of 3 steps is left


def test_the_rate_falls_along_a_cosine(problem, tmp_path):
    """Of steps with a constant gradient: the distances are the learning rates."""
    from afterkernel.training.optimizer import make_optimizer, make_schedule

    network, options = initial(problem), Training(lr=0.5, lr_schedule="cosine")
    optimizer = make_optimizer(network, options)
    schedule, rates = make_schedule(optimizer, options, 8), []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.25 * (1 + math.cos(math.pi * step / 8)) for step in range(8)])
    assert optimizer.param_groups[0]["lr"] == 0


def test_a_snapshot_of_a_network_with_batch_norm_has_its_running_statistics(problem, tmp_path):
    network, _ = fit(problem, tmp_path, network=initial(problem, "resnet"), epochs=3)
    again = initial(problem, "resnet")
    facts = snapshot.load(tmp_path, again, snapshot.paths(tmp_path)[-1])
    assert facts.epoch == 3
    assert torch.equal(logits(again, problem.x_test), logits(network, problem.x_test))
    assert again.layers[1].num_batches_tracked == 9
    assert not torch.equal(again.layers[1].running_mean, initial(problem, "resnet").layers[1].running_mean)
    # Epoch 0 has those of the initialisation: mean 0 and variance 1.
    snapshot.load(tmp_path, again, snapshot.paths(tmp_path)[0])
    assert (again.layers[1].running_mean == 0).all()
    assert (again.layers[1].running_var == 1).all()


@pytest.mark.parametrize("epochs", [0, 2])
def test_a_centred_function_starts_at_zero(problem, tmp_path, epochs):
    network, _ = fit(problem, tmp_path, network=initial(problem, scale=3.0), epochs=epochs, centered_output=True)
    facts = snapshot.read(snapshot.paths(tmp_path)[0])
    assert facts.train_loss == pytest.approx(math.log(2))
    assert facts.net_test_error == problem.y_test.double().mean()  # a logit of 0 is class 0
    start = initial(problem, scale=3.0)
    outputs = logits(network, problem.x_train) - logits(start, problem.x_train)
    loss = F.binary_cross_entropy_with_logits(outputs, problem.y_train.double()).item()
    assert snapshot.read(snapshot.paths(tmp_path)[-1]).train_loss == pytest.approx(loss, rel=1e-5)
    # The snapshot is of the network alone, whose kernel is that of the function.
    weights = torch.load(snapshot.paths(tmp_path)[-1].with_suffix(".pt"), weights_only=True)
    assert weights.keys() == initial(problem).state_dict().keys()


def test_a_large_scale_trains_lazily(problem, tmp_path):
    """The function moves as fast, and the parameters in inverse proportion to the scale (arXiv 1812.07956)."""
    moved, functions, kernels = [], [], []
    for scale in (30.0, 300.0):
        network = initial(problem, scale=scale)
        start, K_start = copy.deepcopy(network), ak.ntk(network, problem.x_test)
        fit(problem, tmp_path / f"{scale}", network=network, centered_output=True, lr=0.05)
        moved.append(
            torch.cat([(p - q).flatten() for p, q in zip(network.parameters(), start.parameters(), strict=True)])
            .norm()
            .item()
        )
        functions.append(logits(network, problem.x_test) - logits(start, problem.x_test))
        kernels.append(ak.kernel_distance(K_start, ak.ntk(network, problem.x_test)))
    assert functions[0].norm() > 0.05
    torch.testing.assert_close(functions[0], functions[1], rtol=0.05, atol=0.01)
    assert moved[0] / moved[1] == pytest.approx(10, rel=0.1)
    assert kernels[1] < 0.5 * kernels[0]


@pytest.mark.parametrize(("batch_size", "n", "fits"), [(32, 33, False), (1, 4, False), (32, 34, True), (3, 9, True)])
def test_batch_norm_needs_two_images(problem, batch_size, n, fits):
    options = Training(batch_size=batch_size)
    options.check_batches(initial(problem), n)
    if fits:
        options.check_batches(initial(problem, "resnet"), n)
    else:
        with pytest.raises(UserError, match=f"batch_size={batch_size} leaves a single image for a batch of the {n}"):
            options.check_batches(initial(problem, "resnet"), n)


def test_a_diverging_adam_is_reported(problem, tmp_path, caplog):
    _, summary = fit(problem, tmp_path, optimizer="adam", lr=1e30, epochs=9)
    assert summary.stopped_by == "diverged"
    assert "training diverged in epoch" in caplog.text
