import importlib.util
from pathlib import Path

import pytest
import torch
from svm_problems import linear_labels, normal, oracle_margin, random_labels

from afterkernel.errors import UserError
from afterkernel.svm import HardMarginSVM
from afterkernel.svm import thundersvm as module

real = pytest.mark.skipif(importlib.util.find_spec("thundersvm") is None, reason="thundersvm is not installed")


def problem(n=60, p=90):
    X = normal(n, p)
    return X, X @ X.T, random_labels(n)


@pytest.fixture
def child(monkeypatch, tmp_path):
    """Replaces the child by a script of one's own, which finds the folder in sys.argv[1]."""

    def replace(code):
        script = tmp_path / "child.py"
        script.write_text(code)
        monkeypatch.setattr(module, "CHILD", script)
        monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: name)
        return HardMarginSVM("thundersvm", timeout_s=200.0)

    return replace


@real
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_agrees_with_an_exact_solver_with_intercept(dtype):
    X, K, y = problem()
    machine = HardMarginSVM("thundersvm").fit(K.to(dtype), y)
    assert machine.converged_ is True
    assert machine.separable_ is True
    assert machine.margin_ == pytest.approx(oracle_margin(X, y, intercept=True), rel=1e-4)
    assert torch.equal(machine.predict(K.to(dtype)), y)


@real
@pytest.mark.parametrize("first", [0, 1])
def test_class_of_the_first_row_does_not_matter(first):
    K, y = problem()[1:]
    order = torch.argsort((y != first).long(), stable=True)
    assert y[order][0] == first
    machine = HardMarginSVM("thundersvm").fit(K[order][:, order], y[order])
    libsvm = HardMarginSVM("libsvm").fit(K, y)
    assert torch.equal(machine.predict(K[:, order]), y)
    assert torch.allclose(machine.decision_function(K[:, order]), libsvm.decision_function(K), atol=1e-3)


@real
def test_low_rank_kernel():
    X = normal(120, 10)
    y = linear_labels(X, offset=0.2)
    machine = HardMarginSVM("thundersvm").fit(X @ X.T, y)
    assert "rank 10" in machine.path_
    assert machine.margin_ == pytest.approx(HardMarginSVM("libsvm").fit(X @ X.T, y).margin_, rel=1e-3)


def test_time_limit(child):
    machine = child("import time; time.sleep(60)")
    machine.set_params(timeout_s=0.2)
    with pytest.raises(UserError, match=r"timeout_s=0.2"):
        machine.fit(*problem()[1:])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.abort()", "exit code -6"),
        ("raise OSError('libcusparse.so.9 not found')", r"exit code 1 \(OSError: libcusparse.so.9 not found\)"),
        ("pass", "without an answer"),
        ("import sys; sys.exit(0)", "without an answer"),
    ],
)
def test_child_that_dies(child, code, words):
    with pytest.raises(UserError, match=words):
        child(code).fit(*problem()[1:])


ANSWER = """
import sys, numpy as np
y = np.load(sys.argv[1] + "/y.npy")
np.save(sys.argv[1] + "/signed.npy", {signed})
np.save(sys.argv[1] + "/intercept.npy", np.zeros(1))
"""


def test_child_that_returns_nonsense(child):
    K, y = problem()[1:]
    with pytest.raises(UserError, match="not finite"):
        child(ANSWER.format(signed="y * np.nan")).fit(K, y)
    with pytest.raises(UserError, match="not finite"):
        child(ANSWER.format(signed="y[:-1]")).fit(K, y)
    # finite nonsense meets the certificate
    wrong_sign = child(ANSWER.format(signed="-y")).fit(K, y)
    assert wrong_sign.converged_ is False
    assert wrong_sign.separable_ is True  # decided apart from the backend
    flat = child(ANSWER.format(signed="y")).fit(K, y)
    assert flat.converged_ is False
    assert flat.gap_ > 1e-3


def test_missing_package(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install afterkernel\[thundersvm\]"):
        HardMarginSVM("thundersvm").fit(*problem()[1:])


def fake_libraries(folder, monkeypatch, on_gpu):
    """A CPU and a GPU build, in name, that the child is asked to use."""
    for name, words in (("cpu", b"no GPU here"), ("gpu", b"...cusparseCreate...")):
        (folder / name).mkdir()
        (folder / name / module.LIBRARY).write_bytes(words)
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{folder / 'cpu'}{module.os.pathsep}{folder / 'gpu'}")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)


REPORTS_LIBRARY = """
import json, sys
library = json.load(open(sys.argv[1] + "/options.json"))["library"]
{first}
open(sys.argv[1] + "/library.txt", "w").write(library)
"""


@pytest.mark.parametrize("on_gpu", [False, True])
def test_a_gpu_build_goes_first_where_there_is_a_gpu(child, monkeypatch, tmp_path, on_gpu):
    fake_libraries(tmp_path, monkeypatch, on_gpu)
    machine = child(REPORTS_LIBRARY.format(first="") + ANSWER.format(signed="y")).fit(*problem()[1:])
    build = "gpu" if on_gpu else "cpu"
    assert f"thundersvm ({build.upper()} build {tmp_path / build / module.LIBRARY})" in machine.path_


def test_a_gpu_build_that_dies_is_followed_by_the_cpu_build(child, monkeypatch, tmp_path):
    fake_libraries(tmp_path, monkeypatch, True)
    dies = "import os\nif '/gpu/' in library: os.abort()"
    machine = child(REPORTS_LIBRARY.format(first=dies) + ANSWER.format(signed="y")).fit(*problem()[1:])
    assert f"CPU build {tmp_path / 'cpu' / module.LIBRARY}, after GPU build" in machine.path_
    assert "exit code -6" in machine.path_


def test_all_builds_dying_is_an_error_of_the_last(child, monkeypatch, tmp_path):
    fake_libraries(tmp_path, monkeypatch, True)
    with pytest.raises(UserError, match="exit code -6"):
        child("import os; os.abort()").fit(*problem()[1:])


def test_a_chosen_library_is_used(child, tmp_path):
    machine = child(REPORTS_LIBRARY.format(first="") + ANSWER.format(signed="y"))
    machine.set_params(library=str(tmp_path / "child.py"))
    assert f"CPU build {tmp_path / 'child.py'}" in machine.fit(*problem()[1:]).path_
    machine.set_params(library="/nowhere/lib.so")
    with pytest.raises(UserError, match=r"library=/nowhere/lib.so is not a file"):
        machine.fit(*problem()[1:])


@real
def test_the_installed_library_is_named():
    found = [path for path in module.shared_libraries() if "thundersvm" in path]
    machine = HardMarginSVM("thundersvm").fit(*problem()[1:])
    assert any(path in machine.path_ for path in found)


@real
def test_the_child_loads_the_chosen_library(tmp_path):
    copy = tmp_path / "mine.so"
    copy.write_bytes(Path(module.shared_libraries()[0]).read_bytes())
    machine = HardMarginSVM("thundersvm", library=str(copy)).fit(*problem()[1:])
    assert f"CPU build {copy}" in machine.path_
    assert machine.converged_ is True


@real
def test_a_library_that_does_not_load(tmp_path):
    broken = tmp_path / module.LIBRARY
    broken.write_bytes(b"not a library")
    with pytest.raises(UserError, match=r"exit code 1 \(OSError"):
        HardMarginSVM("thundersvm", library=str(broken)).fit(*problem()[1:])
