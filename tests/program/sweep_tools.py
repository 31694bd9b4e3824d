"""Helpers for tests of interrupted sweeps: a small grid, injected faults, and the numbers of a sweep to compare."""

import dataclasses
import subprocess
import sys
import time

from forked_program import environment, last_of_each

from afterkernel.records import read_records

GRID = [
    "--multirun",
    "arch=mlp,vgg",
    "arch.budget=1500",
    "seed=0,1",
    "training.epochs=4",
    "training.lr=0.1",
    "snapshot.epochs=[0,1]",
    "measure.num_images=20",
    "measure.crop_fraction=[0.75]",
    "dataset.max_train=60",
    "dataset.max_test=30",
    "trainer.checkpoint_every_s=0",
    "trainer.threads=1",
    "sweep.name=s",
]
SIX = [*GRID, "seed=0,1,2", "logger=none"]


def start(words, cwd, **harm):
    """Start the program."""
    return subprocess.Popen(
        [sys.executable, "-m", "afterkernel", *last_of_each(map(str, words))],
        cwd=cwd,
        env=environment(**harm),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_log(process, sweep_dir, text):
    """Wait until the log of a run of the sweep has a text, at most 300 s."""
    deadline = time.monotonic() + 300
    while not any(text in log.read_text() for log in sweep_dir.glob("*/run.log")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


WITHOUT_TORCH = """
import sys
from afterkernel.__main__ import main
assert main(sys.argv[1:]) == 0
assert "torch" not in sys.modules
"""


def run_without_torch(*words):
    """What a command prints that needs no torch, in a new interpreter, where it must not have been imported."""
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def numbers(sweep_dir):
    """Every number of a sweep that does not vary from run to run, by run, snapshot and evaluation."""
    found = {}
    for record in read_records(sweep_dir):
        data = dataclasses.asdict(record)
        kernels = [{k: v for k, v in kernel.items() if k != "resources"} for kernel in data["kernels"]]
        kept = {
            name: value
            for name, value in data.items()
            if name not in ("kernels", "provenance", "config", "wall_s_train", "commit", "device", "peak_bytes")
        }
        key = record.run_id, record.epoch, record.evaluation_id
        assert key not in found, f"{key} appears twice"
        found[key] = kept, kernels
    return found
