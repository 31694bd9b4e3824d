"""Shapes in signatures are checked at run time in every test; real data and GPUs are found, or tests are skipped."""

import os
import signal
from pathlib import Path

import jaxtyping
import pytest

# Before afterkernel is imported anywhere: this puts jaxtyping's and beartype's checks into its functions.
jaxtyping.install_import_hook("afterkernel", "typecheck.typechecker").__enter__()

import torch  # noqa: E402

# A shell that starts the tests in the background has them ignore Ctrl-C, and the programs that they start too.
signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


def pytest_collection_modifyitems(items):
    absent = {}
    if not torch.cuda.is_available():
        absent["gpu"] = "needs a CUDA device"
    if "SLURM_CONF" not in os.environ:
        absent["slurm"] = "needs a SLURM cluster: make test-slurm starts one"
    if "AFTERKERNEL_TEST_RAY" not in os.environ:
        absent["ray"] = "needs Ray: make test-ray installs it and starts a cluster"
    for item in items:
        for name in absent.keys() & item.keywords.keys():
            item.add_marker(pytest.mark.skip(reason=absent[name]))


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
