"""Time and memory of starting the program, against importing the libraries that it stands on.

    python benchmarks/start.py
    python benchmarks/start.py "import" "--help" "a wrong value"     # the commands whose names begin so

Each command runs in a fresh process, five times; the smallest time of each kind counts, and the smallest peak of the
resident memory. Before them `--help` runs once, since its first call derives what it shows from the code.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

ROUNDS = 5
IMPORTS = "import torch, hydra, omegaconf, sklearn, pandas"
RUN = [
    *("arch=mlp", "training.epochs=1", "snapshot.epochs=[]", "kernel.names=[ntk]", "measure.names=[spectrum]"),
    *("dataset.max_train=40", "dataset.max_test=20", "logger=none", "force=true"),
]
GRID = [
    *("--multirun", "arch=vgg,mlp", "dataset.max_train=100,120,140", "training.lr=0.01,0.02,0.03,0.05,0.1"),
    *("seed=range(10)", "sweep.dry_run=true", "logger=none"),
]
CASES = {
    IMPORTS: ["-c", IMPORTS],
    "import afterkernel": ["-c", "import afterkernel"],
    "--version": ["-m", "afterkernel", "--version"],
    "--help": ["-m", "afterkernel", "--help"],
    "--help svm": ["-m", "afterkernel", "--help", "svm"],
    "report --help": ["-m", "afterkernel", "report", "--help"],
    "completion bash": ["-m", "afterkernel", "completion", "bash"],
    "a wrong command": ["-m", "afterkernel", "evel"],
    "a wrong value": ["-m", "afterkernel", "training.lr=abc"],
    "a run of one small mlp": ["-m", "afterkernel", *RUN],
    "a run with all defaults": ["-m", "afterkernel", "logger=none", "force=true"],
    "a dry run of 300 runs": ["-m", "afterkernel", *GRID],
}


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, processor seconds of a process and its children, and its peak of memory in MiB."""

    wall_s: float
    processor_s: float
    memory_mib: float


def cost(words: list[str], folder: str) -> Cost:
    """The cost of one process."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def main() -> None:
    """Print a table."""
    chosen = {name: words for name, words in CASES.items() if name.startswith(tuple(sys.argv[1:]) or "")}
    print("| command | seconds | processor s | of the imports | MiB |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        cost(CASES["--help"], folder)
        limit = 0.0
        for name, words in chosen.items():
            found = [cost(words, folder) for _ in range(ROUNDS)]
            wall, processor, memory = (
                min(getattr(each, field.name) for each in found) for field in dataclasses.fields(Cost)
            )
            limit = limit or processor
            print(f"| `{name}` | {wall:.2f} | {processor:.2f} | {processor / limit:.2f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
