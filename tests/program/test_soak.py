"""A short form of `make soak`."""

import sys
from pathlib import Path

import pytest
from sweep_tools import GRID

sys.path.insert(0, str(Path(__file__).parents[1]))
from soak import Soak


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_kills_at_random_moments_lose_nothing(launcher, tmp_path):
    soak = Soak(launcher, kills=2, words=[*GRID, "seed=0", "logger=none", "training.epochs=20"], seed=None)
    soak.run(tmp_path)
    assert soak.kills == 2
