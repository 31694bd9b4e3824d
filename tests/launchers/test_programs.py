"""The real program on each engine: `python -m afterkernel --multirun launcher=NAME`."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from afterkernel.records import read_records

# Long enough to be interrupted in the middle of training, at a checkpoint.
SMALL = [
    "arch=mlp",
    "arch.budget=1500",
    "training.epochs=250",
    "training.lr=0.1",
    "snapshot.epochs=[0,1]",
    "measure.num_images=20",
    "measure.crop_fraction=[0.75]",
    "dataset.max_train=200",
    "dataset.max_test=30",
    "logger.wandb.mode=disabled",
    "trainer.device=cpu",
    "trainer.checkpoint_every_s=0.1",
]


def command(*words):
    return [sys.executable, "-m", "afterkernel", *words]


def environment():
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def start(cwd, *words):
    with (cwd / "output.txt").open("w") as output:
        return subprocess.Popen(
            command("--multirun", *words, *SMALL), cwd=cwd, env=environment(), stdout=output, stderr=subprocess.STDOUT
        )


def wait(process, cwd):
    code = process.wait(timeout=400)
    return code, (cwd / "output.txt").read_text()


def numbers(folder):
    """All records of a sweep without what may vary: times, memory, provenance, options of the launcher."""
    found = {}
    for run_dir in sorted(folder.glob("*-seed*")):
        for record in map(dataclasses.asdict, read_records(run_dir)):
            for kernel in record["kernels"]:
                del kernel["resources"]
            for name in ("provenance", "config", "sweep", "wall_s_train"):
                del record[name]
            found[run_dir.name, record["epoch"]] = record
    return found


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The records of the two runs, made one after the other."""
    cwd = tmp_path_factory.mktemp("local")
    code, output = wait(start(cwd, "seed=0,1", "sweep.name=s", "launcher=local"), cwd)
    assert code == 0, output
    found = numbers(cwd / "runs" / "s")
    assert len(found) == 2 * 3
    return found


def once_trained(folder, action):
    """Act once both runs have a checkpoint to continue from."""
    deadline, seen = time.monotonic() + 300, set()
    while len(seen) < 2:
        assert time.monotonic() < deadline, f"only {seen} began to train"
        time.sleep(0.02)
        seen.update(folder.glob("*-seed*/training.ckpt"))
    action()


@pytest.mark.slurm
def test_slurm_jobs_that_are_requeued_give_the_records_of_an_unbroken_run(unbroken, tmp_path):
    def requeue():
        listed = subprocess.run(
            ["squeue", "--noheader", "--array", "--format=%i"], capture_output=True, text=True, check=True
        ).stdout.split()
        first, second = sorted(listed)
        subprocess.run(["scontrol", "requeue", first], check=True)  # killed at once, as by a pre-emption
        subprocess.run(["scancel", "--signal=USR2", second], check=True)  # what SLURM sends before a time limit

    words = ["launcher=slurm", "launcher.timeout_min=5", "launcher.signal_delay_s=30", "launcher.poll_s=0.5"]
    process = start(tmp_path, "seed=0,1", "sweep.name=s", *words)
    folder = tmp_path / "runs" / "s"
    once_trained(folder, requeue)
    code, output = wait(process, tmp_path)
    assert code == 0, output
    assert "2 of 2 runs finished" in output
    assert numbers(folder) == unbroken
    logs = [path.read_text() for path in folder.glob(".submitit/*/*_log.out")]
    assert len(logs) == 2
    assert all(text.count("Starting with JobEnvironment") == 2 for text in logs)
    assert all("resuming from" in text for text in logs)
    assert any("Requeued job" in text for text in logs)


@pytest.mark.slurm
def test_ctrl_c_cancels_the_jobs_and_the_same_command_continues(unbroken, tmp_path):
    words = ["seed=0,1", "sweep.name=s", "launcher=slurm", "launcher.poll_s=0.5"]
    process = start(tmp_path, *words)
    folder = tmp_path / "runs" / "s"
    once_trained(folder, lambda: process.send_signal(signal.SIGINT))
    code, output = wait(process, tmp_path)
    assert code == 130, output
    assert "run the same command again" in output
    code, output = wait(start(tmp_path, *words), tmp_path)
    assert code == 0, output
    assert numbers(folder) == unbroken


@pytest.mark.ray
@pytest.mark.parametrize("where", ["existing", "local"])
def test_ray_gives_the_records_of_launcher_local(unbroken, tmp_path, where):
    address = os.environ["AFTERKERNEL_TEST_RAY"] if where == "existing" else "local"
    code, output = wait(
        start(tmp_path, "seed=0,1", "sweep.name=s", "launcher=ray", f"launcher.address='{address}'"), tmp_path
    )
    assert code == 0, output
    assert "2 of 2 runs finished" in output
    assert numbers(tmp_path / "runs" / "s") == unbroken


@pytest.mark.ray
def test_a_run_whose_ray_worker_is_killed_continues_from_its_checkpoint(unbroken, tmp_path):
    def kill():
        for locks in folder.glob("*-seed0*/locks/*.json"):
            os.kill(int(json.loads(locks.read_text())["process"].partition("@")[0]), signal.SIGKILL)

    folder = tmp_path / "runs" / "s"
    address = os.environ["AFTERKERNEL_TEST_RAY"]
    words = ["launcher=ray", f"launcher.address='{address}'", "launcher.retries=1"]
    process = start(tmp_path, "seed=0,1", "sweep.name=s", *words)
    once_trained(folder, kill)
    code, output = wait(process, tmp_path)
    assert code == 0, output
    assert "its process died" in output
    assert numbers(folder) == unbroken
