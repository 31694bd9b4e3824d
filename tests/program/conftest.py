"""The real program, run as a user runs it: one small sweep that many tests look at."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = [
    "arch.budget=1500",
    "training.epochs=3",
    "training.lr=0.1",
    "snapshot.epochs=[0,1]",
    "measure.num_images=20",
    "measure.crop_fraction=[0.75]",
    "dataset.max_train=60",
    "dataset.max_test=30",
]


def afterkernel(*words, cwd, timeout_s=300):
    """Run `python -m afterkernel WORDS` in a folder; the finished process, with text output."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "afterkernel", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout_s)


@pytest.fixture(scope="session")
def program():
    return afterkernel


@pytest.fixture(scope="session")
def small_options():
    return list(SMALL)


@pytest.fixture(scope="session")
def sweep(tmp_path_factory) -> Path:
    """A folder in which a sweep of two architectures and two seeds has run; results lie in runs/tiny."""
    folder = tmp_path_factory.mktemp("sweep")
    done = afterkernel("--multirun", "arch=vgg,mlp", "seed=0,1", "sweep.name=tiny", *SMALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "output.txt").write_text(done.stdout + done.stderr)
    return folder
