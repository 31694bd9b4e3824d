"""Whoever reads what is printed may stop reading, as `head` does: no traceback."""

import os
import subprocess
import sys

import pytest


# Buffered output is written at the end, whatever the command; `doctor` writes in the middle of its work.
@pytest.mark.parametrize(("words", "unbuffered"), [(["--help"], ""), (["--help"], "1"), (["doctor"], "1")])
def test_a_reader_that_is_gone_is_no_error_to_show(words, unbuffered, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        command = [sys.executable, "-m", "afterkernel", *words]
        environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=out, stderr=subprocess.PIPE, text=True)
    assert done.stderr == ""
    assert done.returncode == 141
