"""Single commands: help, user errors and their exit codes, plan, doctor, data of other kinds, a diverging run."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image
from sweep_tools import run_without_torch

import afterkernel as ak
from afterkernel.__main__ import main
from afterkernel.cli import commands

PACKAGE = Path(ak.__file__).parent


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["training.lr=abc"], "training.lr=abc has the wrong type: it must be a number."),
        (["--multirun", "training.lr=0.1,abc"], "job training.lr=abc: training.lr=abc has the wrong type"),
        (["--fast"], "--fast is not an option of the command line"),
        (["evaluate", "/nowhere"], "/nowhere is not a run"),
        (["plan", "arch.budget=1"], "arch.budget=1 is too small"),
    ],
)
def test_a_user_error_ends_with_one_sentence_and_code_2(words, sentence, program, tmp_path):
    done = program(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert "Traceback" not in done.stdout + done.stderr
    assert not list(tmp_path.rglob("snapshots"))


def test_help_lists_commands_groups_presets_and_sweeps(program, tmp_path):
    done = program("--help", cwd=tmp_path)
    assert done.returncode == 0
    for line in ("evaluate RUN_DIR [OVERRIDES]", "arch        architecture", "mnist_3_8", "paper_slow"):
        assert line in done.stdout


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", commands())
def test_every_command_has_help_with_an_example(command, flag, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, flag])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: python -m afterkernel {command}")
    assert f"example:\n  python -m afterkernel {command}" in text


@pytest.mark.parametrize("command", commands())
@pytest.mark.parametrize("word", ["nowhere", "--help"])
def test_help_and_a_wrong_path_wait_for_no_heavy_import(command, word, tmp_path):
    code = (
        "import sys; from afterkernel.__main__ import main\n"
        f"try: code = main([{command!r}, {word!r}])\n"
        "except SystemExit as ended: code = ended.code\n"
        "print(code, [name for name in ('torch', 'wandb', 'altair', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"{2 if word == 'nowhere' else 0} []"


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["arch=mlp", "--help"], ["--multirun", "-h"]])
def test_help_without_a_command_is_that_of_the_program(words, capsys):
    assert main(words) == 0
    assert "Groups of options" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"afterkernel {version('afterkernel')}\n"


@pytest.mark.parametrize("words", [["arch=mlp"], ["+sweep=demo"]])
def test_the_configuration_is_printed(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["--cfg", "job", *words]) == 0
    assert "lr: " in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_product_code_patches_nothing():
    assert not [path for path in PACKAGE.rglob("*.py") if "unittest" in path.read_text()]


def test_a_diverging_run_is_recorded_with_its_last_snapshot(program, small_options, tmp_path):
    words = ["--multirun", "arch=mlp", *small_options, "training.lr=1e30,0.1", "snapshot.epochs=[1]"]
    done = program(*words, "kernel.names=[ntk]", "sweep.name=s", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "training.lr=1e+30 is too large" in done.stdout + done.stderr
    assert "2 of 2 runs finished (1 diverged)" in done.stdout
    assert "  diverged: mlp-lr1e+30-seed0-" in done.stderr
    frame = ak.results(tmp_path / "runs").set_index("learning_rate")
    assert frame.loc[[1e30], ["epoch", "final", "training_end"]].to_numpy().tolist() == [[0.0, True, "diverged"]]
    assert frame.loc[[0.1], "training_end"].tolist() == ["", "epochs"]
    shown = program("status", "runs/s", cwd=tmp_path).stdout
    assert "2 of 2 runs done" in shown
    assert "diverged after epoch 0, its last snapshot" in shown
    again = program(*words, "kernel.names=[ntk]", "sweep.name=s", cwd=tmp_path)
    assert "2 runs, 2 finished before, 0 to do" in again.stdout
    (run_dir,) = tmp_path.glob("runs/s/mlp-lr1e*")
    for lost in ("snapshots/*", "records/*"):
        for path in run_dir.glob(lost):
            path.unlink()
        again = program(*words, "kernel.names=[ntk]", "sweep.name=s", "logger=none", cwd=tmp_path)
        assert again.returncode == 0
        assert ak.results(run_dir)["training_end"].tolist() == ["diverged"]


def test_a_run_has_snapshots_at_losses(program, small_options, tmp_path):
    words = ["arch=mlp", *small_options, "training.lr=0.3", "training.epochs=30", "snapshot.losses=[0.5,0.3,1e-9]"]
    done = program(*words, "snapshot.epochs=[0]", "kernel.names=[ntk]", "training.max_steps=41", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "snapshot.losses=[1e-09] were not reached" in done.stdout + done.stderr
    frame = ak.results(tmp_path / "runs").sort_values("step")
    assert len(frame) == 4
    assert frame["training_end"].tolist() == ["", "", "", "steps"]
    assert (frame["epoch"] == frame["step"] / 2).all()
    assert frame["step"].iloc[-1] == 41
    assert frame["train_loss"].iloc[1] == pytest.approx(0.5, rel=0.2)
    assert frame["train_loss"].iloc[2] == pytest.approx(0.3, rel=0.2)


def test_a_failed_job_does_not_stop_the_sweep_and_is_no_success(program, small_options, tmp_path):
    words = ["arch.budget=3000", "training.batch_size=59", "snapshot.epochs=[0]"]  # of 60 images one is left over
    done = program("--multirun", "arch=resnet,mlp", *small_options, *words, cwd=tmp_path)
    assert done.returncode != 0
    assert "training.batch_size=59 leaves a single image" in done.stderr
    assert set(ak.results(tmp_path / "runs")["arch"]) == {"mlp"}


def test_the_grid_of_a_sweep_file_is_changed_by_words(program, tmp_path):
    words = ["+sweep=demo", "arch=mlp", "seed=3,4", "training.lr=0.1", "arch.budget=2000", "sweep.dry_run=true"]
    done = program(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "6 runs, 0 finished, 6 to do; nothing was run" in done.stdout  # each without and with two augmentations
    assert done.stdout.count("mlp-lr0.1-seed3-") == done.stdout.count("mlp-lr0.1-seed4-") == 3


def test_a_sweep_file_with_only_a_grid_is_a_sweep(program, tmp_path):
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text(
        "hydra:\n  sweeper:\n    params:\n      arch: mlp\n      seed: 0,1\n"
    )
    done = program("+sweep=mine", "sweep.dry_run=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("mlp-lr0.01-seed") == 2
    assert "2 runs, 0 finished, 2 to do; nothing was run" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["sweeps"]


def test_a_dry_run_of_one_run_runs_nothing(program, tmp_path):
    done = program("arch=mlp", "sweep.dry_run=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 run, 0 finished, 1 to do; nothing was run" in done.stdout
    assert not list(tmp_path.iterdir())


def test_loss_target_stops_a_run(program, small_options, tmp_path):
    options = ["training.lr=0.3", "training.epochs=60", "training.loss_target=0.4", "snapshot.epochs=[0]"]
    done = program("arch=mlp", *small_options, *options, "kernel.names=[conjugate]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    final = ak.results(tmp_path / "runs").query("final")
    assert (final["train_loss"] <= 0.4).all()
    assert (final["epoch"] < 60).all()


def test_plan_prints_the_cost(program, tmp_path):
    done = program("plan", "arch=mlp", "kernel.budget_bytes=1000000", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mlp of width 172: 100,621 parameters" in done.stdout
    assert "row blocks         5 of up to 64 samples" in done.stdout
    assert "layers.1  factors" in done.stdout
    assert "11,180 by its gradients written out" in done.stdout


def test_doctor_tries_every_backend(program, tmp_path):
    done = program("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for backend in ("auto", "cuml", "exact", "jst", "liblinear", "libsvm", "thundersvm"):
        assert backend in done.stdout


def test_an_image_folder_is_a_data_source(program, small_options, tmp_path):
    for split, count in (("train", 12), ("test", 6)):
        for name, level in (("dark", 40), ("light", 200)):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (9, 10), (level + index, level, 30 + 5 * index)).save(folder / f"{index}.png")
    options = ["dataset=folder", "dataset.root=images", "dataset.minus=dark", "dataset.plus=light"]
    done = program(*options, *[word for word in small_options if "max_" not in word], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    frame = ak.results(tmp_path / "runs")
    assert set(frame["dataset"]) == {"folder"}
    assert (frame["n_train"] == 24).all()


@pytest.mark.data
def test_mnist_from_a_folder(program, small_options, tmp_path, mnist_root):
    options = ["dataset=mnist", f"dataset.root={mnist_root}", "dataset.download=false", "arch.budget=3000"]
    done = program(*options, *[word for word in small_options if "budget" not in word], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    frame = ak.results(tmp_path / "runs")
    assert set(frame["n_train"]) == {60}
    assert (frame["gap"] <= 1e-6).all()


@pytest.mark.gpu
def test_a_run_on_a_gpu_gives_the_numbers_of_the_cpu(program, small_options, tmp_path):
    for trainer in ("cpu", "gpu"):
        options = [f"trainer={trainer}", f"sweep.name={trainer}", "training.epochs=0"]
        done = program("arch=vgg", *small_options, *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    cpu, gpu = (ak.results(tmp_path / "runs" / trainer) for trainer in ("cpu", "gpu"))
    for column in ("margin", "swap_invariance", "effective_rank", "embedding_norm"):
        assert cpu[column].to_numpy() == pytest.approx(gpu[column].to_numpy(), rel=1e-3)


LIGHT = """
import sys
absent = "hydra omegaconf pytorch_lightning wandb sklearn pandas duckdb altair jinja2 rich jaxtyping"
absent += " torchvision scipy"
sys.modules.update(dict.fromkeys(absent.split()))
import torch, afterkernel as ak
model, x = ak.models.mlp((1, 8, 8), 2000), torch.rand(30, 1, 8, 8)
K, y = ak.ntk(model, x), torch.arange(30) % 2
svm = ak.HardMarginSVM(backend="exact").fit(K, y)
assert svm.converged_ and svm.gap_ < 1e-6, svm.gap_
assert (svm.predict(ak.ntk(model, x, x)) == y).all()
for other in (ak.KernelRidge(), ak.MinimumNormInterpolator(), ak.SoftMarginPath(), ak.OneVsRestSVM()):
    other.set_params(**other.get_params()).fit(K, y).score(K, y)
print(ak.invariance(model, x, "swap"), ak.alignment(K, ak.conjugate_kernel(model, x)), ak.effective_rank(K))
"""


def test_the_library_needs_torch_and_numpy_alone(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", LIGHT], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 3


@pytest.mark.parametrize("command", ["results", "status"])
def test_what_reads_records_alone_takes_no_time_to_import_torch(command, sweep, tmp_path):
    folder = shutil.copytree(sweep / "runs", tmp_path / "runs")
    run_without_torch(command, folder)
