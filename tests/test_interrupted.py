"""Ctrl-C, even before the program has started: one sentence and code 130."""

import os
import subprocess
import sys

import pytest

INTERRUPTED = """
import builtins, runpy, sys
real = builtins.__import__
def interrupting(name, *more, **named):
    if name.split(".")[0] == {name!r}:
        raise KeyboardInterrupt
    return real(name, *more, **named)
builtins.__import__ = interrupting
sys.argv = ["afterkernel", *{words!r}]
runpy.run_module("afterkernel", run_name="__main__", alter_sys=False)
"""


@pytest.mark.parametrize("name", ["torch", "hydra"])
@pytest.mark.parametrize("words", [[], ["evaluate", "run"], ["--help"]])
def test_ctrl_c_while_libraries_are_imported(name, words, tmp_path):
    run = tmp_path / "run"  # a folder that passes for a run until the libraries are imported
    run.mkdir()
    (run / "config.yaml").write_text("{}\n")
    code = INTERRUPTED.format(name=name, words=words)
    # Without the cache of a former help, which would need no library.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    assert done.stderr == (
        "afterkernel: interrupted; snapshots and records are kept, and the same command continues from them.\n"
    )
