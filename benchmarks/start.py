"""Processor time of starting the program, against importing the libraries that it stands on.

    python benchmarks/start.py

Each command runs in a fresh process, three times; the smallest processor time (user and system) counts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

ROUNDS = 3
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
    "--help": ["-m", "afterkernel", "--help"],
    "a wrong value": ["-m", "afterkernel", "training.lr=abc"],
    "a run of one small mlp": ["-m", "afterkernel", *RUN],
    "a dry run of 300 runs": ["-m", "afterkernel", *GRID],
}


def processor_s(words: list[str], folder: str) -> float:
    """Processor seconds of one process and its children."""
    before = os.times()
    subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, check=False)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Print a table."""
    print("| command | processor s | of the imports |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        limit = 0.0
        for name, words in CASES.items():
            best = min(processor_s(words, folder) for _ in range(ROUNDS))
            limit = limit or best
            print(f"| `{name}` | {best:.2f} | {best / limit:.2f} |", flush=True)


if __name__ == "__main__":
    main()
