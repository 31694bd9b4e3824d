"""A process that has imported what the program imports, and forks once a command: a start costs no imports then.

A command comes as one line of JSON on standard input: the words, the folder, the environment, and the files that take
its output. Its exit code is the answer.
"""

import json
import os
import runpy
import sys
from pathlib import Path

import preload  # noqa: F401

# A new interpreter finds it on its PYTHONPATH.
HARM = str(Path(__file__).parents[1] / "sweep" / "harm" / "sitecustomize.py")


def become(words, cwd, environment, out, err):
    """Turn this process into `python -m afterkernel WORDS`."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT, 0o644), 1)
    os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT, 0o644), 2)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    if "HARM" in environment:
        runpy.run_path(HARM)
    sys.argv = ["afterkernel", *words]
    runpy.run_module("afterkernel", run_name="__main__", alter_sys=True)


print("ready", flush=True)
while line := sys.stdin.readline():
    if (child := os.fork()) == 0:
        become(**json.loads(line))
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
