"""A short form of `make soak`."""

import sys
from pathlib import Path

import pytest
from sweep_tools import GRID

sys.path.insert(0, str(Path(__file__).parents[1]))
from soak import Soak


# A pause costs several commands, each with the imports of a whole program.
@pytest.mark.parametrize(("launcher", "kind", "faults"), [("basic", "pause", 1), ("joblib", "kill", 2)])
def test_faults_at_random_moments_lose_nothing(launcher, kind, faults, tmp_path):
    words = [*GRID, "arch=mlp", "seed=0", "logger=none", "training.epochs=20"]
    soak = Soak(launcher, faults=faults, words=words, seed=None, kinds=[kind])
    soak.run(tmp_path)
    assert soak.faults == faults
