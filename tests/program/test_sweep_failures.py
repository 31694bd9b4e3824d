"""A job that exits, is killed, or lacks memory or disk is one failed run; the same command then completes the sweep."""

import json
import re
import signal
import time
from pathlib import Path

from sweep_tools import GRID, SIX, numbers, start, wait_for_log

import afterkernel as ak

FAILURE = re.compile(r"FAILED (\S+): (.*) \(log: (.*)\)")


# Which run, where, how; and its message.
FAULTS = {
    "mlp-,seed0,snapshots/.step=2.pt:kill": r"ended by SIGKILL",
    "mlp-,seed1,snapshots/.step=2.pt:exit": r"it exited with code 0",
    "mlp-,seed2,snapshots/.step=8.pt:memory": r"out of memory",
    "vgg-,seed0,records,.tmp:kill": r"ended by SIGKILL",
    "vgg-,seed1,records,.tmp:full": r"the disk is full",
}


def test_runs_fail_in_different_ways_and_the_others_continue(program, unbroken, tmp_path):
    words = [*SIX, "launcher.processes=2"]
    done = program(*words, cwd=tmp_path, harm=";".join(FAULTS), mark=tmp_path / "mark")
    assert len(list(tmp_path.glob("mark.*"))) == len(FAULTS), "a fault did not happen"
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of 6 runs finished, 5 failed; run the same command again to continue" in done.stdout
    found = {run_id: (sentence, Path(log)) for run_id, sentence, log in FAILURE.findall(done.stderr)}
    assert len(found) == len(FAILURE.findall(done.stderr)) == len(FAULTS)
    for fault, wanted in FAULTS.items():
        arch, seed = fault.split(",")[:2]
        ((run_id, (sentence, log)),) = [item for item in found.items() if item[0].startswith(arch) and seed in item[0]]
        assert re.search(wanted, sentence)
        assert f"run {run_id} of sweep s" in log.read_text()
        assert json.loads((log.parent / "failure.json").read_text())["message"] == sentence
        assert f"  failed: {run_id}: {sentence}\n    log: {log}" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    again = program(*words, cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "6 runs, 1 finished before, 5 to do" in again.stdout
    assert numbers(tmp_path / "runs" / "s") == unbroken
    assert not list((tmp_path / "runs").rglob("failure.json"))


def test_on_error_stop_begins_no_further_run(program, tmp_path):
    words = [*GRID, "logger=none", "sweep.on_error=stop"]
    harm = "mlp-,seed1,snapshots/.step=2.pt:exit"
    done = program(*words, cwd=tmp_path, harm=harm, mark=tmp_path / "mark")
    assert done.returncode == 1
    assert "1 of 4 runs finished, 1 failed, 2 to go" in done.stdout
    assert not list((tmp_path / "runs" / "s").glob("vgg-*"))


def test_ctrl_c_leaves_everything_to_continue_from(program, unbroken, tmp_path):
    words = [*SIX, "launcher.processes=2"]
    process = start(words, tmp_path)
    wait_for_log(process, tmp_path / "runs" / "s", "epoch 0: training loss")
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)  # keys bounce, and some programs send it twice
    out, err = process.communicate(timeout=400)
    assert process.returncode == 130, out + err
    assert "run the same command again to continue" in out
    assert err.count("\n") == 1
    assert "interrupted" in err
    assert "Traceback" not in out + err
    status = program("status", "runs/s", cwd=tmp_path)
    assert status.returncode == 0, status.stderr
    again = program(*words, cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert numbers(tmp_path / "runs" / "s") == unbroken


def test_a_worker_ends_with_its_parent(tmp_path):
    process = start([*GRID, "logger=none", "training.epochs=100000"], tmp_path)
    wait_for_log(process, tmp_path / "runs" / "s", "epoch 1: training loss")
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 300
    locks = list((tmp_path / "runs" / "s").glob("*/locks/*.json"))
    worker = int(json.loads(locks[0].read_text())["process"].split("@")[0])
    while time.monotonic() < deadline and Path(f"/proc/{worker}").exists():
        time.sleep(0.2)
    assert not Path(f"/proc/{worker}").exists()


def test_a_dry_run_runs_nothing(program, tmp_path):
    done = program(*GRID, "logger=none", "sweep.dry_run=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if re.match(r"(mlp|vgg)-lr0.1-seed\d-", line)]
    assert len(rows) == 4
    assert all(" new " in row for row in rows)
    assert "4 runs, 0 finished, 4 to do; nothing was run" in done.stdout
    assert not (tmp_path / "runs").exists()
    program(*GRID, "logger=none", "seed=1", cwd=tmp_path)
    done = program(*GRID, "logger=none", "sweep.dry_run=true", cwd=tmp_path)
    assert "4 runs, 2 finished, 2 to do" in done.stdout


def test_four_processes_on_one_sweep_do_each_run_once(program, tmp_path):
    words = [*GRID, "logger=none", "arch=mlp", "seed=range(0,40)", "measure.names=[]"]
    words += ["training.epochs=0", "snapshot.epochs=[0]"]
    processes = program.at_once(words, 4, cwd=tmp_path)
    outputs = [(process.stdout, process.stderr) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    # A process names a run that it did itself by its options and numbers; one of another process is left or skipped.
    done = [seed for out, _ in outputs for seed in re.findall(r"^\[\d+/40\] .*seed (\d+): NTK ", out, re.M)]
    assert sorted(map(int, done)) == list(range(40)), outputs
    frame = ak.results(tmp_path / "runs" / "s")
    assert len(frame) == 80
    assert frame.groupby("run_id").size().eq(2).all()
    logs = [path.read_text() for path in (tmp_path / "runs" / "s").glob("*/run.log")]
    assert [log.count("ntk: SVM test error") for log in logs] == [1] * 40
