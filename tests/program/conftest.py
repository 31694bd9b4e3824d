"""One small sweep of the real program that many tests use."""

from pathlib import Path

import pytest
from sweep_tools import SIX, numbers

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


@pytest.fixture(scope="session")
def small_options():
    return list(SMALL)


@pytest.fixture(scope="session")
def sweep(tmp_path_factory, program) -> Path:
    """A folder in which a sweep of two architectures and two seeds has run; results lie in runs/tiny."""
    folder = tmp_path_factory.mktemp("sweep")
    done = program("--multirun", "arch=vgg,mlp", "seed=0,1", "sweep.name=tiny", *SMALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "output.txt").write_text(done.stdout + done.stderr)
    return folder


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory, program):
    """The numbers of the sweep SIX: those of GRID, and of one seed more."""
    folder = tmp_path_factory.mktemp("unbroken")
    done = program(*SIX, cwd=folder)
    assert done.returncode == 0, done.stderr
    return numbers(folder / "runs" / "s")
