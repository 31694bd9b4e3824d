import re

import pytest
import yaml

from afterkernel.__main__ import main
from afterkernel.errors import UserError
from afterkernel.records import SkippedWarning, write_record
from afterkernel.runs.status import lookup, status, wanted_epochs


def write_config(run, epochs=5, snapshots=(0, 1, 5, 20)):
    run.mkdir(parents=True, exist_ok=True)
    config = {
        "arch": {"name": "mlp"},
        "training": {"epochs": epochs, "lr": 0.1},
        "snapshot": {"epochs": list(snapshots)},
        "seed": 7,
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def test_snapshots_up_to_the_last_epoch_are_wanted_and_the_last_one_too():
    config = {"training": {"epochs": 7}, "snapshot": {"epochs": [0, 1, 5, 20]}}
    assert wanted_epochs(config, None) == (0, 1, 5, 7)


def test_no_more_snapshots_are_wanted_after_an_early_stop():
    config = {"training": {"epochs": 50}, "snapshot": {"epochs": [0, 1, 5, 20]}}
    assert wanted_epochs(config, 3) == (0, 1, 3)


def test_wanted_epochs_are_unknown_without_a_configuration_of_snapshots():
    assert wanted_epochs({"training": {"epochs": 7}}, None) is None


def test_lookup_follows_a_dotted_name():
    assert lookup({"a": {"b": 1}, "c": 2}, "a.b") == 1
    assert lookup({"a": 1}, "a.b") is None


def test_a_run_in_the_middle(tmp_path, make_record):
    write_config(tmp_path / "run0")
    write_record(tmp_path / "run0", make_record(epoch=0), 1)
    write_record(tmp_path / "run0", make_record(epoch=5), 1)
    (run,) = status(tmp_path)
    assert (run.recorded, run.wanted, run.missing, run.done) == ((0, 5), (0, 1, 5), (1,), False)


def test_a_run_that_ended_early_at_its_loss_target_is_done(tmp_path, make_record):
    write_config(tmp_path / "run0", epochs=50)
    for epoch, final in [(0, False), (1, False), (3, True)]:
        write_record(tmp_path / "run0", make_record(epoch=epoch, final=final), 1)
    (run,) = status(tmp_path)
    assert run.done
    assert run.wanted == (0, 1, 3)


def test_what_a_run_took_is_its_training_and_the_evaluation_that_got_furthest(tmp_path, make_record):
    write_config(tmp_path / "run0", epochs=1)
    records = [make_record(epoch=0, evaluation_id="a"), make_record(epoch=1, evaluation_id="a")]
    for record in [*records, make_record(epoch=0, evaluation_id="b")]:
        write_record(tmp_path / "run0", record, 1)
    (run,) = status(tmp_path)
    parts = [kernel.resources for record in records for kernel in record.kernels]
    evaluated = sum(part.wall_s_kernel + part.wall_s_svm + part.wall_s_measures for part in parts)
    assert run.wall_s == pytest.approx(max(record.wall_s_train for record in records) + evaluated)
    assert run.wall_s > 0


def test_a_run_without_records_is_described_by_its_config(tmp_path):
    write_config(tmp_path / "run1")
    (run,) = status(tmp_path)
    assert (run.run_id, run.arch, run.learning_rate, run.seed, run.recorded) == ("run1", "mlp", 0.1, 7, ())
    assert run.missing == (0, 1, 5)


def test_two_evaluations_of_different_snapshots_are_not_one_whole(tmp_path, make_record):
    write_config(tmp_path / "run0", epochs=1)
    write_record(tmp_path / "run0", make_record(epoch=0, evaluation_id="a"), 1)
    write_record(tmp_path / "run0", make_record(epoch=1, evaluation_id="b"), 1)
    (run,) = status(tmp_path)
    assert not run.done


def test_the_config_in_a_record_replaces_a_lost_file(tmp_path, make_record):
    write_record(tmp_path / "run0", make_record(epoch=0), 1)
    (run,) = status(tmp_path)
    assert run.wanted == (0, 1, 5)


def test_hydra_s_hidden_folder_is_no_run(tmp_path):
    write_config(tmp_path / "run0")
    write_config(tmp_path / "run0" / ".hydra")
    assert [run.run_id for run in status(tmp_path)] == ["run0"]


def test_what_wandb_leaves_after_an_upload_is_no_run(tmp_path):
    write_config(tmp_path / "run0")
    write_config(tmp_path / "run0" / "wandb" / "offline-run-1-x" / "files")
    write_config(tmp_path / "dashboard" / "wandb" / "offline-run-2-y" / "files")
    assert [run.run_id for run in status(tmp_path)] == ["run0"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"a: [1,", "can't be read as YAML"),
        (b"when: 2001-99-99", "can't be read as YAML"),
        (b"\xff\x00", "can't be read as YAML"),
        (b"[" * 10**4, "can't be read as YAML"),
        (b"just words", "is not a configuration of afterkernel"),
        (b"- 1", "is not a configuration of afterkernel"),
        (b"training: fast", "is not a configuration of afterkernel"),
        (b"", "is not a configuration of afterkernel"),
    ],
)
def test_a_damaged_or_foreign_config_is_named_and_hides_no_other_run(tmp_path, make_record, text, reason):
    write_config(tmp_path / "run1")
    write_record(tmp_path / "run0", make_record(epoch=0), 1)
    for name in ("run0", "other", "run2"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "config.yaml").write_bytes(text)
    (tmp_path / "run2" / "snapshots").mkdir()
    with pytest.warns(SkippedWarning, match=rf"/config\.yaml {reason}") as warned:
        runs = {run.run_id: run for run in status(tmp_path)}
    assert {str(one.message).split("/config")[0] for one in warned} == {
        str(tmp_path / name) for name in ("run0", "other", "run2")
    }
    assert runs.keys() == {"run0", "run1", "run2"}
    assert reason in runs["run2"].damaged
    assert runs["run0"].recorded == (0,)


def test_a_config_with_odd_values_is_no_traceback(tmp_path):
    (tmp_path / "run0").mkdir()
    text = "training: {lr: fast, epochs: [1]}\narch: 3\nseed: {a: 1}\nsnapshot: {epochs: [x, 1]}"
    (tmp_path / "run0" / "config.yaml").write_text(text)
    (run,) = status(tmp_path)
    assert (run.arch, run.learning_rate, run.seed, run.wanted) == (None, None, None, None)


def test_no_runs_names_the_directory(tmp_path):
    with pytest.raises(UserError, match="contains no runs"):
        status(tmp_path)


def test_damaged_records_are_named_and_hide_no_other(tmp_path, capsys, make_record):
    for place in range(5):
        name = f"run{place}"
        path = write_record(tmp_path / "s" / name, make_record(run_id=name, seed=place, epoch=0, config={}), 1)
        (path.parents[1] / "config.yaml").write_text("training: {epochs: 0, lr: 0.1}\nsnapshot: {epochs: [0]}\n")
        if name in ("run1", "run4"):
            path.write_bytes(path.read_bytes()[:-9])
    assert main(["status", str(tmp_path)]) == 3
    out, err = capsys.readouterr()
    lines = out.splitlines()
    shown = {line.split()[0]: line for line in lines if line.startswith("run")}
    for name in ("run1", "run4"):
        assert re.search(r" 0/1 +damaged .*records/0\.eval0\.1\.json is truncated or was altered", shown[name])
        assert f"warning: skipped: {tmp_path}/s/{name}/records/0.eval0.1.json is truncated" in err
    assert all(re.search(r" 1/1 +done ", shown[name]) for name in ("run0", "run2", "run3"))
    assert lines[-1] == "3 of 5 runs done, 2 damaged"
