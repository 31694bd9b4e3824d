"""What a sweep costs besides training and kernels: composing, checking, the store, W&B offline, the report's rows.

    python benchmarks/sweep.py [--runs 20]

The same sweep of small runs with 1 and with --runs runs, in one process after the other, each taken to its report; what
the records say of training, kernels, SVM and measures is subtracted. The figure is the remainder for each run after the
first, so that starting Python and importing torch, which happen once, do not count.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import afterkernel as ak

OPTIONS = ["--multirun", "arch=mlp", "training.epochs=5", "snapshot.epochs=[0,1,2,5]", "sweep.name=s"]
STAGES = ["wall_s_kernel", "wall_s_svm", "wall_s_measures"]


def main() -> None:
    """Measure, and print the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        one = measure(Path(folder) / "one", 1)
        many = measure(Path(folder) / "many", runs)
    wall_s = (many[0] - one[0]) / (runs - 1)
    report_s = (many[1] - one[1]) / (runs - 1)
    stages_s = (many[2] - one[2]) / (runs - 1)
    print(
        f"a run after the first: {wall_s + report_s:.2f} s, of which training, kernels, SVM, measures {stages_s:.2f} s"
    )
    print(f"overhead a run after the first: {wall_s + report_s - stages_s:.2f} s (bar: 1.5 s)")
    print(f"a first run, imports and all: {one[0]:.1f} s and {one[1]:.1f} s for its report")


def measure(folder: Path, runs: int) -> tuple[float, float, float]:
    """Seconds of a sweep, of its report, and of the stages in its records."""
    folder.mkdir()
    sweep_s = seconds([*OPTIONS, f"seed=range(0,{runs})"], folder)
    report_s = seconds(["report", "runs/s"], folder)
    frame = ak.results(folder / "runs" / "s")
    training = frame[frame["final"]].groupby("run_id")["wall_s_train"].first().sum()
    return sweep_s, report_s, float(frame[STAGES].sum().sum() + training)


def seconds(words: list[str], folder: Path) -> float:
    """Seconds of one command."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "afterkernel", *words], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
