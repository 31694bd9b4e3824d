"""A process that has imported what the program imports, and forks once a command: a start costs no imports then.

One line of JSON on standard input has the commands to run at once: of each the words, the folder, the environment, and
the files that take its output. Their exit codes are the answer.
"""

import json
import os
import runpy
import sys
from pathlib import Path

import preload  # noqa: F401
from fork_workers import fork_workers

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
    fork_workers()
    sys.argv = ["afterkernel", *words]
    runpy.run_module("afterkernel", run_name="__main__", alter_sys=True)


def fork(command):
    """The process ID of a process that becomes a command."""
    if (child := os.fork()) == 0:
        become(**command)
        sys.exit()
    return child


print("ready", flush=True)
while line := sys.stdin.readline():
    children = [fork(command) for command in json.loads(line)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(json.dumps(codes), flush=True)
