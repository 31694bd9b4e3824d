"""Runs composed quickly are those that Hydra composes one by one."""

import pytest
from omegaconf import OmegaConf

from afterkernel.config import compose
from afterkernel.errors import UserError
from afterkernel.sweep.composer import Composer
from afterkernel.sweep.grid import compose_grid


@pytest.fixture
def asked():
    return []


@pytest.fixture
def composer(asked):
    def load(overrides):
        asked.append(overrides)
        return compose(overrides)

    return Composer(load)


GRID = [
    ["arch=vgg", "training.lr=0.1", "seed=0"],
    ["arch=vgg", "training.lr=0.2", "seed=1", "snapshot.epochs=[0,3]"],
    ["arch=mlp", "training.lr=0.1", "seed=0", "arch.init=ntk"],
    ["seed=2", "arch=mlp", "arch.width=7", "seed=3"],
    ["+sweep=c3", "arch=mlp", "seed=4", "dataset.download=false"],
    ["svm=jst", "svm.tol=1e-3", "arch=mlp"],
]


def test_runs_are_those_of_hydra_in_any_order(composer, asked):
    for overrides in [*GRID, *reversed(GRID)]:
        made = OmegaConf.to_container(composer(overrides))
        assert made == OmegaConf.to_container(compose(overrides))
    assert asked == [["arch=vgg"], ["arch=mlp"], ["+sweep=c3", "arch=mlp"], ["svm=jst", "arch=mlp"]]


@pytest.mark.parametrize("word", ["+measure.names=[spectrum]", "~training.lr", "hydra.job.name=x"])
def test_what_adds_deletes_or_is_hydras_is_left_to_hydra(word, asked):
    composer = Composer(lambda overrides: asked.append(overrides) or compose([]))
    composer(["arch=mlp", "seed=1", word])
    assert asked == [["arch=mlp", "seed=1", word]]


@pytest.mark.parametrize("word", ["training.lr=abc", "training.lrr=1", "seed=[1]"])
def test_errors_are_those_that_hydra_reports(word, composer):
    with pytest.raises(UserError) as hydras:
        compose(["arch=mlp", word])
    with pytest.raises(UserError) as ours:
        compose_grid(composer, [["arch=mlp", "seed=1"], ["arch=mlp", word]])
    assert str(ours.value).startswith("job ")
    assert str(ours.value).endswith(f"{word}: {hydras.value}")
