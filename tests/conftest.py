"""Every test runs in the environment of `isolation`; shapes in signatures are checked at run time."""

import importlib.machinery
import os
import shutil
import signal
import sys
import types
from pathlib import Path

import isolation

# Before any library is imported: they read their settings then.
isolation.hide()

import pytest  # noqa: E402
import typecheck  # noqa: E402
from _pytest.mark.expression import Expression  # noqa: E402

# Before afterkernel is imported anywhere: this puts jaxtyping's and beartype's checks into its functions.
typecheck.install()

import torch  # noqa: E402
from forked_program import program  # noqa: E402, F401
from record_fixture import make_record  # noqa: E402, F401

# A shell that starts the tests in the background has them ignore Ctrl-C, and the programs that they start too.
signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


MISSING = {
    "gpu": "needs a CUDA device: `pytest -m gpu` shows it to the tests",
    "slurm": "needs a SLURM cluster: make test-slurm starts one",
    "ray": "needs Ray: make test-ray installs it and starts a cluster",
    "browser": "needs Chromium: make test-browser installs it and shows it to the tests",
}


def pytest_configure(config):
    """Show SLURM, Ray, Chromium and GPUs only to a session that selects their tests by -m."""
    if "PYTEST_XDIST_WORKER" not in os.environ and (asked := config.option.markexpr):
        expression = Expression.compile(asked)
        for mark in isolation.REVEALED:
            if expression.evaluate(lambda name, mark=mark, **_: name == mark) and not expression.evaluate(
                lambda name, **_: False
            ):
                isolation.reveal(mark)


def pytest_collection_modifyitems(items):
    there = {
        "gpu": torch.cuda.is_available(),
        "slurm": "SLURM_CONF" in os.environ,
        "ray": "AFTERKERNEL_TEST_RAY" in os.environ,
        "browser": shutil.which("chromium") is not None and shutil.which("chromedriver") is not None,
    }
    for item in items:
        for name in item.keywords.keys() & {name for name, found in there.items() if not found}:
            item.add_marker(pytest.mark.skip(reason=MISSING[name]))


@pytest.fixture(autouse=True)
def _isolated():
    """Undo what a test changes of its environment and folder."""
    environment, folder = dict(os.environ), Path.cwd()
    environment.pop("WANDB_SERVICE", None)  # of a module's fixture; a test may end the service that it names
    yield
    isolation.restore(environment)
    os.chdir(folder)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """`installed("sbatch", "squeue")`: programs of these names, which fail when they are run."""

    def install(*names: str) -> None:
        folder = tmp_path / "installed"
        folder.mkdir()
        for name in names:
            (folder / name).write_text(f"#!/bin/sh\necho '{name} is a fake' >&2\nexit 99\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    return install


@pytest.fixture
def importable(monkeypatch):
    """`importable("ray")`: an empty module that `find_spec` finds."""

    def add(name: str) -> None:
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)

    return add


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The folder that holds MNIST/raw; skips where it is absent. Set AFTERKERNEL_DATA to name another."""
    root = Path(os.environ.get("AFTERKERNEL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (root / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file():
        pytest.skip(f"no MNIST at {root}: set AFTERKERNEL_DATA to a folder that holds MNIST/raw")
    return root


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
