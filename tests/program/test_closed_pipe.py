"""A reader of the output may stop reading, as `head` does, without a traceback."""

import os
import subprocess
import sys

import pytest


# Every command writes buffered output at the end; `doctor` writes in the middle of its work.
@pytest.mark.parametrize(("words", "unbuffered"), [(["--help"], ""), (["--help"], "1"), (["doctor"], "1")])
def test_a_closed_pipe_is_not_reported_as_an_error(words, unbuffered, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        command = [sys.executable, "-m", "afterkernel", *words]
        environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=out, stderr=subprocess.PIPE, text=True)
    assert done.stderr == ""
    assert done.returncode == 141
