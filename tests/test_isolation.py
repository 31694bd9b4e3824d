"""The test suite does not see software of the machine, here and in the processes that it starts."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import isolation
import pytest
import torch

PROGRAMS = ["sbatch", "srun", "squeue", "scancel", "scontrol", "ray", "chromium", "chromedriver", "nvidia-smi", "wandb"]
HOSTILE = {
    "HOME": "/home/someone",
    "PATH": os.defpath,
    "WANDB_MODE": "online",
    "WANDB_API_KEY": "a" * 40,
    "NETRC": "/home/someone/netrc",
    "SLURM_CONF": "/etc/slurm.conf",
    "SLURM_JOB_ID": "7",
    "RAY_ADDRESS": "head:6379",
    "XDG_CONFIG_HOME": "/home/someone/config",
    "PYTHONWARNINGS": "error",
    "PYTHONOPTIMIZE": "2",
    "HYDRA_FULL_ERROR": "1",
    "LC_ALL": "tr_TR.UTF-8",
    "GIT_DIR": "/nowhere",
    "TORCH_HOME": "/home/someone/torch",
    "HTTPS_PROXY": "http://proxy:1",
    "COLUMNS": "20",
    "CUDA_VISIBLE_DEVICES": "0",
    "OMP_NUM_THREADS": "64",
}
LOOK = f"""
import importlib.util, json, os, shutil, torch
found = [name for name in {PROGRAMS} if shutil.which(name)]
found += [name for name in {isolation.MODULES} if importlib.util.find_spec(name)]
print(json.dumps([found, os.path.expanduser("~"), torch.cuda.device_count()]))
"""


@pytest.fixture(autouse=True)
def _default_suite(request):
    if request.config.option.markexpr:
        pytest.skip("a session with -m may see more")


@pytest.fixture
def _engines_are_installed(tmp_path, monkeypatch):
    """Also on a machine without them there is something to hide."""
    for name in isolation.MODULES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)


@pytest.mark.usefixtures("_engines_are_installed")
def test_engines_browsers_gpus_and_accounts_are_hidden():
    assert [name for name in PROGRAMS if shutil.which(name)] == []
    assert [name for name in isolation.MODULES if importlib.util.find_spec(name)] == []
    assert not torch.cuda.is_available()
    assert sorted(os.environ.keys() & HOSTILE.keys()) == ["CUDA_VISIBLE_DEVICES", "HOME", "OMP_NUM_THREADS", "PATH"]
    for name in (".netrc", ".config/wandb", ".gitconfig"):
        assert not (Path.home() / name).exists()


@pytest.mark.usefixtures("_engines_are_installed")
def test_processes_that_tests_start_see_no_more():
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], os.environ["HOME"], 0]


def test_a_hostile_environment_is_removed(tmp_path):
    found = isolation.hidden(HOSTILE, tmp_path)
    allowed = {"HOME", "PATH", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"}
    assert found.keys() & HOSTILE.keys() == allowed
    assert not any(found[name] == HOSTILE[name] for name in allowed)
    assert {path.name for path in Path(found["PATH"]).iterdir()} <= set(isolation.TOOLS)


@pytest.mark.parametrize("number", [1, 2])
def test_what_a_test_leaves_in_the_environment_ends_with_it(number):
    assert "LEFT_BY_A_TEST" not in os.environ
    os.environ["LEFT_BY_A_TEST"] = str(number)
