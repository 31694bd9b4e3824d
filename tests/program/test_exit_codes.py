"""Every documented exit code occurs."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from afterkernel.cli._help import overview
from afterkernel.exit_codes import ExitCode

SMALL = ["arch=mlp", "arch.budget=1500", "dataset.max_train=60", "dataset.max_test=30", "logger=none"]


def done(program, cwd):
    return program("--version", cwd=cwd).returncode


def failed(program, cwd):
    # Of 60 images one is left over, which batch normalisation can't take.
    words = ["arch=resnet", "arch.budget=3000", "training.batch_size=59", *SMALL[2:]]
    return program("--multirun", *words, "seed=0,1", "training.epochs=1", cwd=cwd).returncode


def user_error(program, cwd):
    return program("training.lr=fast", cwd=cwd).returncode


def skipped(program, cwd):
    grids = cwd / "s" / "grids"
    grids.mkdir(parents=True)
    (grids / "a.json").write_text(json.dumps({"version": 1, "runs": {"mlp-0": ["seed=0"]}}))
    (grids / "b.json").write_text("{")
    return program("status", "s", cwd=cwd).returncode


def interrupted(program, cwd):
    command = [sys.executable, "-m", "afterkernel", *SMALL, "training.epochs=1000000", "snapshot.epochs=[0]"]
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        deadline = time.monotonic() + 300
        while not any("training" in path.read_text() for path in cwd.glob("runs/*/*/locks/*.progress")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=200)
    return process.returncode


def closed_pipe(program, cwd):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        command = [sys.executable, "-m", "afterkernel", "--version"]
        return subprocess.run(command, cwd=cwd, stdout=out, stderr=subprocess.PIPE).returncode


CASES = {
    ExitCode.DONE: done,
    ExitCode.FAILED: failed,
    ExitCode.USER_ERROR: user_error,
    ExitCode.SKIPPED: skipped,
    ExitCode.INTERRUPTED: interrupted,
    ExitCode.CLOSED_PIPE: closed_pipe,
}


@pytest.mark.parametrize("code", ExitCode, ids=lambda code: code.name)
def test_a_documented_exit_code_occurs(code, program, tmp_path):
    assert CASES[code](program, tmp_path) == code


def test_help_lists_every_exit_code():
    listed = re.findall(r"^  (\d+) +\S", overview().partition("Exit codes:")[2], re.M)
    assert listed == [str(int(code)) for code in ExitCode]
