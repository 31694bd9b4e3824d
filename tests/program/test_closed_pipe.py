"""Whoever reads what is printed may stop reading, as `head` does: no traceback."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("words", [["--help"], ["doctor"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_is_gone_is_no_error_to_show(words, unbuffered, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        command = [sys.executable, "-m", "afterkernel", *words]
        environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=out, stderr=subprocess.PIPE, text=True)
    assert done.stderr == ""
    assert done.returncode == 141
