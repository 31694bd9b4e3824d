"""Recorded runs computed again: on an equal machine by bits, elsewhere within rounding and the spread over seeds."""

import dataclasses
import math
import re
import shutil

import pytest

from afterkernel.__main__ import main
from afterkernel.records import read_records
from afterkernel.records.exported import export, read_exported
from afterkernel.runs.reproduction import cell, compare, other_machine

OPTIONS = [
    *("--multirun", "arch=mlp", "arch.width=5", "seed=0,1,2,3,4", "sweep.name=s", "training.lr=0.3", "logger=none"),
    *("training.epochs=2", "snapshot.epochs=[0,1]", "dataset.max_train=40", "dataset.max_test=20"),
    *("measure.num_images=5", "trainer.threads=1", "measure.names=[invariance,spectrum,kernel_distance]"),
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    assert main([*OPTIONS, f"output_dir={folder}"]) == 0
    export(read_records(folder), folder / "all.parquet")
    return folder / "all.parquet"


@pytest.fixture
def file(exported, tmp_path):
    return shutil.copy(exported, tmp_path / "all.parquet")


@pytest.fixture
def runs(exported):
    """The records of each run by its seed."""
    found = {}
    for record in read_exported(exported):
        found.setdefault(record.seed, []).append(record)
    return found


def changed(record, **fields):
    """The record with fields of itself, or of its first kernel, replaced."""
    inner = {name: fields.pop(name) for name in list(fields) if not hasattr(record, name)}
    first, *others = record.kernels
    return dataclasses.replace(record, **fields, kernels=(dataclasses.replace(first, **inner), *others))


def elsewhere(run, **provenance):
    changes = provenance or {"cpu": "another"}
    return [dataclasses.replace(one, provenance={**one.provenance, **changes}) for one in run]


def verified(file, capsys, *words):
    capsys.readouterr()
    code = main(["verify", str(file), "--runs", "1", "--seed", "1", *words])
    return code, capsys.readouterr().out


def test_a_run_computed_again_is_equal_bit_for_bit(file, capsys):
    code, out = verified(file, capsys)
    head, line, last = out.splitlines()
    assert head == "1 of 5 runs, drawn with --seed 1"
    n = int(re.fullmatch(r"mlp-lr0\.3-seed\d-\w+: (\d+) numbers equal, bit for bit: agrees", line)[1])
    assert n > 200
    assert (code, last) == (0, "1 of 1 run agree")


def test_a_falsified_number_is_named(file, capsys):
    def falsify(record):
        return changed(record, svm_test_error=record.kernels[0].svm_test_error + 0.05) if record.final else record

    export(map(falsify, read_exported(file)), file)
    code, out = verified(file, capsys)
    assert code == 1
    assert re.search(r"bit for bit: DIFFERS\n  epoch 2, \w+, svm_test_error: recorded [\d.]+, here [\d.]+\n", out)


def test_of_another_machine_trained_numbers_are_compared_with_the_spread_over_seeds(file, capsys):
    export(elsewhere(read_exported(file), versions={"torch": "1.0"}), file)
    code, out = verified(file, capsys)
    assert code == 0
    assert "torch 1.0 (here " in out
    assert re.search(r"\d+ numbers of epoch 0 within 1e-5, \d+ of trained snapshots as near as other seeds are", out)
    assert out.splitlines()[1].endswith(": agrees")


def test_other_threads_are_another_machine(file, capsys):
    code, out = verified(file, capsys, "trainer.threads=2")
    assert code == 0
    assert "threads 1 (here 2): " in out


def test_every_kind_of_number_is_compared_by_bits(runs):
    run = runs[0]
    last = run[-1]
    for change in (
        {"train_loss": math.nextafter(last.train_loss, 9)},
        {"net_test_wrong": "////"},
        {"parameters": 1},
        {"margin": 12.5},
        {"effective_rank": 0.5},
        {"separable": None},
        {"svm_test_wrong": "////"},
        {"measures": {**last.kernels[0].measures, "eigenvalue_1": 1.0}},
    ):
        found = compare(run, [*run[:-1], changed(last, **change)], [])
        (difference,) = found.differences
        name = "eigenvalue_1" if "measures" in change else next(iter(change))
        assert f", {name}: recorded " in difference
    for change in ({"wall_s_train": 1e9}, {"commit": "x"}, {"warnings": ("x",)}):
        assert not compare(run, [*run[:-1], changed(last, **change)], []).differences
    assert compare(run, run[:-1], []).differences == ["3 snapshots are recorded, and there are 2 here"]


def test_epoch_0_agrees_to_five_digits_elsewhere(runs):
    was, here = elsewhere(runs[0]), runs[0]
    for factor, agrees in ((1 + 0.5e-5, True), (1 + 2e-5, False)):
        first = changed(here[0], train_loss=here[0].train_loss * factor)
        found = compare(was, [first, *here[1:]], list(runs.values())[1:])
        assert (not found.differences) == agrees
    assert found.differences[0].startswith("epoch 0, train_loss: recorded ")


def test_epoch_0_elsewhere_may_differ_by_what_rounding_decides(runs):
    was, here = elsewhere(runs[0]), runs[0]
    first, kernel = here[0], here[0].kernels[0]
    for change, agrees in (
        ({"net_test_error": first.net_test_error + 1 / 20}, True),
        ({"net_test_error": first.net_test_error + 1 / 10}, False),
        ({"net_train_error": first.net_train_error + 1 / 20}, False),  # two of 40 images
        ({"svm_test_error": kernel.svm_test_error + 1 / 20}, True),
        ({"n_support": kernel.n_support - 1}, True),
        ({"n_support": kernel.n_support - 2}, False),
    ):
        found = compare(was, [changed(first, **change), *here[1:]], list(runs.values())[1:])
        assert (not found.differences) == agrees, change


def test_a_run_with_wrong_labels_is_computed_again(tmp_path, capsys):
    words = [word for word in OPTIONS[1:] if not word.startswith("seed=")]
    assert main([*words, "training.label_noise=0.1", f"output_dir={tmp_path}"]) == 0
    assert verified(tmp_path, capsys)[0] == 0


def test_trained_numbers_agree_elsewhere_as_far_as_seeds_do(runs):
    was, here, others = elsewhere(runs[0]), runs[0], list(runs.values())[1:]
    losses = [run[-1].train_loss for run in others]
    spread = max(losses) - min(losses)
    for shift, agrees in ((spread / 3, True), (20 * spread, False)):
        last = changed(here[-1], train_loss=here[-1].train_loss + shift)
        assert (not compare(was, [*here[:-1], last], others).differences) == agrees
        falsified = [*was[:-1], changed(was[-1], train_loss=was[-1].train_loss + shift)]
        assert (not compare(falsified, here, others).differences) == agrees


def test_with_few_seeds_trained_numbers_are_not_compared(runs):
    was, here = elsewhere(runs[0]), runs[0]
    found = compare(was, [here[0], *(changed(one, train_loss=1e9) for one in here[1:])], list(runs.values())[1:3])
    assert (found.differences, found.n_trained) == ([], 0)
    assert found.n_left_out > 100
    assert f"{found.n_left_out} not compared (fewer than 3 other seeds)" in found.describe()


def test_what_makes_another_machine(runs):
    one = runs[0][0]
    same = dict(one.provenance)
    for name, value in {
        "versions": {**same["versions"], "python": "3.0"},
        "cpu": "another",
        "cpu_capability": "another",
        "execution": {**same["execution"], "threads": 7},
    }.items():
        assert other_machine(dataclasses.replace(one, provenance={**same, name: value}), one)
    versions = {**same["versions"], "afterkernel": "9"}
    assert not other_machine(dataclasses.replace(one, provenance={**same, "versions": versions}, commit="x"), one)
    earlier = {name: value for name, value in same.items() if name != "cpu_capability"}
    assert not other_machine(dataclasses.replace(one, provenance=earlier), one)


def test_a_cell_has_the_same_options_but_the_seed(runs):
    one = runs[0][0]

    def with_option(group, name, value):
        config = {**one.config, group: {**one.config[group], name: value}}
        return cell(dataclasses.replace(one, config=config))

    assert cell(one) == cell(runs[1][0]) == with_option("trainer", "threads", 9)
    assert len({cell(one), with_option("training", "lr", 0.1), with_option("arch", "name", "vgg")}) == 3
    assert cell(dataclasses.replace(one, evaluation_id="x")) != cell(one)
