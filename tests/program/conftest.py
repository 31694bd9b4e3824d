"""The real program, run as a user runs it: one small sweep that many tests use."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sweep_tools import SIX, environment, last_of_each, numbers

SMALL = [
    "arch.budget=1500",
    "training.epochs=3",
    "training.lr=0.1",
    "snapshot.epochs=[0,1]",
    "measure.num_images=20",
    "measure.crop_fraction=[0.75]",
    "dataset.max_train=60",
    "dataset.max_test=30",
]


class Program:
    """`program("status", "runs", cwd=folder)` runs `python -m afterkernel status runs`; the finished process.

    Its workers are forked too (see fork_workers). `harm` and `mark` cause faults (see tests/sweep/harm).
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.commands = folder, 0
        command = [sys.executable, str(Path(__file__).with_name("forkserver.py"))]
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


@pytest.fixture(scope="session")
def small_options():
    return list(SMALL)


@pytest.fixture(scope="session")
def sweep(tmp_path_factory, program) -> Path:
    """A folder in which a sweep of two architectures and two seeds has run; results lie in runs/tiny."""
    folder = tmp_path_factory.mktemp("sweep")
    done = program("--multirun", "arch=vgg,mlp", "seed=0,1", "sweep.name=tiny", *SMALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "output.txt").write_text(done.stdout + done.stderr)
    return folder


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory, program):
    """The numbers of the sweep SIX: those of GRID, and of one seed more."""
    folder = tmp_path_factory.mktemp("unbroken")
    done = program(*SIX, cwd=folder)
    assert done.returncode == 0, done.stderr
    return numbers(folder / "runs" / "s")
