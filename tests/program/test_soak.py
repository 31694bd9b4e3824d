"""A short form of `make soak`."""

import re
import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).parents[1] / "soak.py"


def test_faults_at_random_moments_lose_nothing():
    words = ["--faults", "3", "--processes", "2", "--small", "arch=mlp", "seed=0", "logger=none"]
    # A process of its own, as it forks: this one may have threads.
    done = subprocess.run([sys.executable, SOAK, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^processes=2: 3 faults .* no record lost, doubled, mixed or changed", done.stdout, re.MULTILINE)
