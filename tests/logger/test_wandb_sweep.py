"""`wandb-sweep`: its file, taken by W&B's own client, whose agent builds and runs the command of a run."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from wandb_server import serving

from afterkernel.__main__ import main
from afterkernel.config import compose, parse
from afterkernel.sweep.composer import Composer
from afterkernel.sweep.grid import compose_grid, grids_of
from afterkernel.sweep.wandb_sweep import wandb_sweep

SMALL = [
    *("arch.budget=1000", "training.epochs=1", "dataset.max_train=40", "dataset.max_test=20", "kernel.names=[ntk]"),
    *("measure.num_images=10", "trainer.threads=1", "measure.names=[]"),
]


def agent_words(content):
    """The overrides with which W&B's agent starts each run of a grid, as its own code writes them."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    names = list(content["parameters"])
    for values in itertools.product(*(content["parameters"][name]["values"] for name in names)):
        args = {name: {"value": value} for name, value in zip(names, values, strict=True)}
        written = create_sweep_command_args({"args": args})["args_no_hyphens"]
        fixed = [word for word in content["command"][4:-1] if not word.startswith("--")]
        yield [*fixed, *written]


def run_ids(words, number=1):
    fixed = [each.input_line for each in parse(words) if not each.is_sweep_override()]
    held = compose(["+sweep=demo", *fixed], with_hydra=True)
    swept = [f"{option}={values}" for option, values in (held.hydra.sweeper.params or {}).items()]
    grid = grids_of(swept, words, held)[number - 1]
    return [planned.job.run_id for planned in compose_grid(Composer(compose), grid)]


WORDS = [
    *("arch=mlp", "seed=0", "training.lr=1e-3,0.3", "snapshot.epochs=[0],[0,1]", "kernel.names=[conjugate,ntk]"),
    *("training.loss_target=null,0.03", "training.centered_output=true,false"),
]


@pytest.mark.parametrize("number", [1, 2])
def test_an_agent_gives_the_runs_of_hydras_grid_for_every_type_of_value(number, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    content = yaml.safe_load(yaml.safe_dump(wandb_sweep("demo", WORDS, number=number)))
    assert content["parameters"]["training.lr"]["values"] == [0.001, 0.3]
    assert content["parameters"]["snapshot.epochs"]["values"] == ["[0]", "[0,1]"]
    assert content["parameters"]["training.loss_target"]["values"] == ["null", 0.03]
    assert "arch" not in content["parameters"]
    given = []
    for words in agent_words(content):
        assert "arch=mlp" in words
        given += run_ids([word for word in words if not word.startswith("+")])
    expected = run_ids(WORDS, number)
    assert len(expected) == len(set(expected)) >= 2**4
    assert sorted(given) == sorted(expected)


def test_wandbs_agent_runs_one_run_of_the_sweep_as_one_wandb_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text(
        "hydra: {mode: MULTIRUN, sweeper: {params: {seed: '0,1', training.lr: '0.1,0.2'}}}\n"
        "sweep: {name: mine}\nsnapshot: {epochs: [0]}\n"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["wandb-sweep", "mine", "--config-dir", ".", "arch=mlp", *SMALL]) == 0
    (tmp_path / "wandb.yaml").write_text(capsys.readouterr().out)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment |= {"WANDB_API_KEY": "a" * 40, "PATH": path, "WANDB_DIR": str(tmp_path)}

    def wandb(*words):
        command = [sys.executable, "-m", "wandb", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    with serving() as server:
        environment["WANDB_BASE_URL"] = server.address
        wandb("sweep", "--project", "afterkernel", "--entity", "me", "wandb.yaml")
        server.agent_runs = [("agentrun", {"seed": 1, "training.lr": 0.2})]
        said = wandb("agent", "--count", "1", "me/afterkernel/sweep1")
        assert "1 of 1 run finished" in said
        assert {asked["name"] for asked in server.runs} == {"agentrun"}
        assert server.runs[0]["sweep"] == "sweep1"
        epochs = [line["epoch"] for line in server.history("agentrun")]
        assert epochs[-2:] == [0, 1]
        assert server.exit_codes("agentrun") == [0]
        assert server.unknown == []
        assert str(tmp_path).encode() not in server.sent
    (folder,) = (tmp_path / "runs" / "mine").glob("mlp-*")
    assert folder.name in set(_ids_of_hydra(tmp_path))


def _ids_of_hydra(folder):
    command = [sys.executable, "-m", "afterkernel", "--config-dir=.", "+sweep=mine", "arch=mlp", *SMALL]
    command += ["sweep.dry_run=true", "logger=none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=folder)
    assert done.returncode == 0, done.stderr
    return [word for word in done.stdout.split() if word.startswith("mlp-")]


def test_no_local_path_gets_into_the_file(capsys):
    assert main(["wandb-sweep", "c1", "output_dir=/home/me/runs"]) == 2
    assert "output_dir is private, and the file is sent to W&B: write output_dir=${oc.env:" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["output_dir=${oc.env:HOME}/runs"])
def test_a_path_from_the_environment_is_kept_as_it_is_written(word):
    assert word in wandb_sweep("c1", [word])["command"]


def test_further_grids_of_the_command_line_are_replaced_in_the_command():
    content = wandb_sweep("demo", ["sweep.also=['training.lr=0.5']"], number=2)
    assert content["parameters"]["training.lr"]["values"] == [0.5]
    assert [word for word in content["command"] if word.startswith("sweep.also")] == ["sweep.also=[]"]
