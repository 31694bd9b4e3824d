"""The real program, run as a user runs it, but for its imports, which are done once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FORKSERVER = Path(__file__).parent / "program" / "forkserver.py"
HARM = Path(__file__).parent / "sweep" / "harm"


def last_of_each(words):
    """Words of a command line; of those that set one option the last alone, as the program takes only one."""
    kept = {word.partition("=")[0].lstrip("+") if "=" in word else place: word for place, word in enumerate(words)}
    return list(kept.values())


def environment(harm=None, mark=None, given=os.environ):
    """The environment `given` for a program, optionally with injected faults (see tests/sweep/harm)."""
    found = {**given} | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    if harm is not None:
        path = [str(HARM), *filter(None, [os.environ.get("PYTHONPATH")])]
        found |= {"HARM": harm, "HARM_MARK": str(mark), "PYTHONPATH": os.pathsep.join(path)}
    return found


class Program:
    """`program("status", "runs", cwd=folder)` runs `python -m afterkernel status runs`; the finished process.

    Its workers are forked too (see fork_workers). `harm` and `mark` cause faults (see tests/sweep/harm), and
    `given` is its environment if it is not that of the test.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.commands = folder, 0
        command = [sys.executable, str(FORKSERVER)]
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder)
        assert self.server.stdout.readline() == "ready\n"

    def __call__(self, *words, cwd, **harm) -> subprocess.CompletedProcess[str]:
        return self.at_once(words, 1, cwd=cwd, **harm)[0]

    def at_once(self, words, times, *, cwd, **harm) -> list[subprocess.CompletedProcess[str]]:
        """The same command, several times at once."""
        given = {
            "words": last_of_each(map(str, words)),
            "cwd": str(cwd),
            "environment": environment(**harm) | {"COLUMNS": "200"},
        }
        files = []
        for _ in range(times):
            self.commands += 1
            files.append({name: str(self.folder / f"{self.commands}.{name}") for name in ("out", "err")})
        self.server.stdin.write(json.dumps([given | its_files for its_files in files]) + "\n")
        self.server.stdin.flush()
        codes = json.loads(self.server.stdout.readline())
        return [
            subprocess.CompletedProcess(words, code, *(Path(file).read_text() for file in its_files.values()))
            for code, its_files in zip(codes, files, strict=True)
        ]

    def end(self) -> None:
        self.server.stdin.close()
        self.server.stdout.close()
        self.server.wait()


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    started = Program(tmp_path_factory.mktemp("program"))
    yield started
    started.end()
