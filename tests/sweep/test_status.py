"""`status`: the state of each run of a sweep."""

import json
import re
import time
from dataclasses import replace

import pytest

from afterkernel.cli.status import main, state_of, sweep_left
from afterkernel.errors import UserError
from afterkernel.progress.work import Progress
from afterkernel.records import SkippedWarning
from afterkernel.runs.failure import write_failure
from afterkernel.runs.planned import planned
from afterkernel.runs.progress_file import ProgressWriter
from afterkernel.runs.run_lock import run_lock
from afterkernel.runs.status import RunStatus


def run_status(run_dir, recorded=(0,), wanted=(0, 5)):
    run_dir.mkdir(parents=True, exist_ok=True)
    return RunStatus(run_dir, run_dir.name, "mlp", 0.1, 0, tuple(recorded), wanted)


def test_done_cut_off_failed_and_running(tmp_path):
    run = run_status(tmp_path / "run")
    assert state_of(run_status(tmp_path / "run", recorded=(0, 5))) == ("done", "")
    assert state_of(run) == ("interrupted", "missing epochs 5")
    write_failure(run.run_dir, "memory ran out")
    assert state_of(run) == ("failed", "memory ran out")
    (run.run_dir / "run.log").write_text("12:00:00 first\n12:00:01 training: epoch 3 of at most 5\n")
    with run_lock(run.run_dir):
        state, word = state_of(run)
    assert state == "running"
    assert word.startswith("training: epoch 3 of at most 5 (process ")


def test_status_shows_the_progress_of_a_run_and_the_time_left_of_the_sweep(tmp_path):
    run = run_status(tmp_path / "run")
    now = time.time()
    report = Progress("training", "training: epoch 3 of 5", 0.4, 30.0, None, None, None, now, now)
    with run_lock(run.run_dir) as lock:
        ProgressWriter(lock.path.with_suffix(".progress")).write(report)
    assert state_of(run) == ("interrupted", "missing epochs 5")  # no process works on it any more
    with run_lock(run.run_dir) as lock:
        ProgressWriter(lock.path.with_suffix(".progress")).write(report)
        assert re.match(r"training: epoch 3 of 5, over \d+ s left \(process ", state_of(run)[1])
        assert re.match(r"training: epoch 3 of 5, about 1 h \d+ min left \(process ", state_of(run, whole_s=5400.0)[1])
        left = sweep_left([run], to_go=2)
        assert (left.wall_s, left.more) == (pytest.approx(90, abs=20), True)
        done = replace(run_status(tmp_path / "done", recorded=(0, 5)), wall_s=100.0)
        left = sweep_left([run, done], to_go=2)
        assert (left.wall_s, left.more) == (pytest.approx(300, abs=20), False)
    assert sweep_left([run, done], to_go=2) is None


def test_a_run_to_come_is_described_by_its_id(tmp_path, capsys):
    (tmp_path / "s" / "grids").mkdir(parents=True)
    runs = {"my-net-lr1e-05-seed7-3f2a9c1d7e": ["seed=7", "keep=[]"]}
    (tmp_path / "s" / "grids" / "a.json").write_text(json.dumps({"version": 1, "runs": runs}))
    assert main([str(tmp_path)]) == 0
    assert re.search(r"3f2a9c1d7e +my-net +1e-05 +7 +to go +keep=\[\]$", capsys.readouterr().out, re.M)


def test_runs_that_have_not_begun_are_described_by_the_swept_options(tmp_path, capsys):
    grids = tmp_path / "s" / "grids"
    grids.mkdir(parents=True)
    (grids / "a.json").write_text(json.dumps({"version": 1, "runs": {"mlp-0": ["seed=0"], "mlp-1": ["seed=1"]}}))
    assert planned(tmp_path) == {tmp_path / "s" / "mlp-0": ["seed=0"], tmp_path / "s" / "mlp-1": ["seed=1"]}
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "0 of 2 runs done, 2 to go" in out
    assert re.search(r"^mlp-1 +1 +to go$", out, re.M)
    (grids / "b.json").write_text("{")
    with pytest.warns(SkippedWarning, match=r"b\.json is not a grid of a sweep"):
        assert main([str(tmp_path)]) == 0


def test_runs_of_several_sweeps_are_shown_with_their_sweep(tmp_path, capsys, monkeypatch):
    def shown(*words):
        assert main(list(words)) == 0
        return [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:-2]]

    config = "arch: {name: mlp}\n"
    for run in ("s/mlp-0", "t/mlp-0"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "config.yaml").write_text(config)
    (tmp_path / "t" / "grids").mkdir()
    grid = {"version": 1, "runs": {"mlp-0": ["seed=0"], "mlp-1": ["seed=1"]}}
    (tmp_path / "t" / "grids" / "a.json").write_text(json.dumps(grid))
    monkeypatch.chdir(tmp_path)
    assert shown(".") == shown(str(tmp_path)) == ["s/mlp-0", "t/mlp-0", "t/mlp-1"]
    assert shown("t") == ["mlp-0", "mlp-1"]


def test_a_sweep_of_which_nothing_has_begun_hides_no_other_runs(tmp_path, capsys):
    (tmp_path / "s" / "grids").mkdir(parents=True)
    (tmp_path / "s" / "grids" / "a.json").write_text(json.dumps({"version": 1, "runs": {"mlp-1": ["seed=1"]}}))
    (tmp_path / "t" / "mlp-0").mkdir(parents=True)
    (tmp_path / "t" / "mlp-0" / "config.yaml").write_text("arch: {name: mlp}\n")
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "t/mlp-0" in out
    assert out.endswith("0 of 2 runs done, 1 interrupted, 1 to go\n")


def test_the_time_left_counts_runs_that_were_cut_off(tmp_path, capsys):
    for run in ("cut-off", "running"):
        (tmp_path / run).mkdir()
        (tmp_path / run / "config.yaml").write_text("arch: {name: mlp}\n")
    now = time.time()
    with run_lock(tmp_path / "running") as lock:
        report = Progress("training", "training", 0.1, 1000.0, 0.1, 1000.0, None, now, now)
        ProgressWriter(lock.path.with_suffix(".progress")).write(report)
        assert main([str(tmp_path)]) == 0
    # 1,000 s for each of the two
    out = capsys.readouterr().out
    assert re.search(r"0 of 2 runs done, 1 running, 1 interrupted, about 3[34] min \d+ s left\n$", out)


def test_a_folder_without_runs_is_an_error(tmp_path):
    with pytest.raises(UserError, match="contains no runs"):
        main([str(tmp_path)])


def test_a_damaged_record_is_reported_also_if_runs_have_not_begun(tmp_path, capsys):
    grids = tmp_path / "s" / "grids"
    grids.mkdir(parents=True)
    (grids / "a.json").write_text(json.dumps({"version": 1, "runs": {"mlp-0": ["seed=0"], "mlp-1": ["seed=1"]}}))
    path = tmp_path / "s" / "mlp-0" / "records" / "0.eval0.1.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{cut short")
    with pytest.warns(SkippedWarning, match="mlp-0/records/0.eval0.1.json is truncated"):
        assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "is truncated or was altered" in out
    assert out.endswith("0 of 2 runs done, 1 damaged, 1 to go\n")


def test_the_table_after_an_interrupted_watch_is_of_that_moment(tmp_path, capsys, monkeypatch):
    grid = tmp_path / "s" / "grids" / "0.json"
    grid.parent.mkdir(parents=True)
    grid.write_text(json.dumps({"version": 1, "runs": {"one": []}}))

    def change_and_interrupt(_seconds):
        grid.write_text(json.dumps({"version": 1, "runs": {"one": [], "two": []}}))
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", change_and_interrupt)
    assert main([str(tmp_path / "s"), "--watch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == ("0 of 1 run done, 1 to go", "0 of 2 runs done, 2 to go")
