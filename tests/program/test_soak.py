"""A short form of `make soak`."""

import sys
from pathlib import Path

import pytest
from sweep_tools import GRID

sys.path.insert(0, str(Path(__file__).parents[1]))
from soak import Soak


@pytest.mark.parametrize(("launcher", "kind"), [("basic", "pause"), ("joblib", "kill")])
def test_faults_at_random_moments_lose_nothing(launcher, kind, tmp_path):
    words = [*GRID, "arch=mlp", "seed=0", "logger=none", "training.epochs=20"]
    soak = Soak(launcher, faults=2, words=words, seed=None, kinds=[kind])
    soak.run(tmp_path)
    assert soak.faults == 2
