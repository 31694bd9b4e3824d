"""Help on groups, choices, presets, options and sweeps; and what a start of the program must not import."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from afterkernel.__main__ import main
from afterkernel.cli import GROUPS, command_facts, commands
from afterkernel.config.catalogue import every_option, option_groups
from afterkernel.config.places import CONF, SWEEPS, first_comment
from afterkernel.config.schema import Config
from afterkernel.files import code_cache
from afterkernel.measures import MEASURES
from afterkernel.options import walk
from afterkernel.svm import BACKENDS

HEAVY = ["torch", "numpy", "lightning", "pytorch_lightning", "torchvision", "sklearn", "wandb", "pandas", "rich"]


def shown(capsys, *words):
    capsys.readouterr()
    assert main(["--help", *words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("topic", ["", "all", "sweeps", "svm", "kernel", "dataset.folder", "svm.tol", "experiment"])
def test_help_fits_eighty_columns(topic, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, shown(capsys, *([topic] if topic else [])).splitlines())) <= 80


def test_the_overview_is_short_and_names_every_command_and_group(capsys):
    text = shown(capsys)
    assert len(text.splitlines()) < 100
    assert all(f"\n{group}:\n" in text for group in GROUPS)
    for word in [*commands(), *(group.name for group in option_groups())]:
        assert f"\n  {word} " in text
    assert {fact.group for fact in command_facts()} == set(GROUPS)


def test_help_on_a_group_has_its_options_choices_and_bounds(capsys):
    text = " ".join(shown(capsys, "svm").split())
    for name, kind in BACKENDS.items():
        assert f"svm={name} {kind.what}" in text
    assert "svm.tol=1e-06 relative duality gap at which a solution counts as converged" in text
    assert "(a number, above 0, at most 1)" in text
    assert "training.lr=0.01 learning rate" in " ".join(shown(capsys, "training").split())
    measures = " ".join(shown(capsys, "measure").split())
    assert all(kind.what in measures for kind in MEASURES.values())


def test_help_on_a_choice_has_its_own_options_alone(capsys):
    text = shown(capsys, "svm.libsvm")
    assert "svm.max_iter=1000000" in text
    assert "svm.soft_C" not in text
    assert shown(capsys, "svm=libsvm") == text


def test_help_on_one_option_has_its_default_and_values(capsys):
    text = " ".join(shown(capsys, "training.lr").split())
    assert "default 0.01" in text
    assert "values a number, above 0" in text
    text = " ".join(shown(capsys, "svm.tol").split())
    assert "svm.tol, of svm=auto, svm=exact" in text
    assert "default 0.001" in text
    assert shown(capsys, "training.lr=0.3") == shown(capsys, "training.lr")


def test_help_on_presets_and_sweeps_has_the_first_comment_of_each_file(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text("# Mine alone.\nseed: 1\n")
    (tmp_path / "more" / "sweeps").mkdir(parents=True)
    (tmp_path / "more" / "sweeps" / "ours.yaml").write_text("# @package _global_\n# Ours.\nseed: 1\n")
    text = " ".join(shown(capsys, "sweeps", "--config-dir", "more").split())
    for path in SWEEPS.glob("*.yaml"):
        assert f"{path.stem} {first_comment(path)}" in text
    assert "mine Mine alone. " in text
    assert "ours Ours. " in text
    for path in CONF.glob("*/*.yaml"):
        assert first_comment(path), f"{path} does not begin with a comment that says what it is"
        name = f"{path.parent.name}={path.stem}"
        assert f"{name} {first_comment(path)}" in " ".join(shown(capsys, path.parent.name).split())
    assert "augment: rotation_shift" in shown(capsys, "training.sgd_rotation_shift")


def test_a_kept_catalogue_is_that_of_the_declarations(tmp_path):
    """A new process reads the file, this one the declarations."""
    code = (
        "import json, sys; from afterkernel.config.catalogue import every_option; found = every_option()\n"
        "assert 'torch' not in sys.modules\n"
        "print(json.dumps({name: [[f.type, dict(f.metadata)] for f in fields] for name, fields in found.items()}))"
    )
    for _ in range(2):  # the first may derive it
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {name: [[field.type, dict(field.metadata)] for field in fields] for name, fields in every_option().items()}
    assert json.loads(done.stdout) == json.loads(json.dumps(found))
    declared = {name: field for name, field, _ in walk(Config())}
    assert all(every_option()[name][-1].metadata["help"] for name in declared)


def test_what_is_derived_from_the_code_is_derived_anew_once_the_code_changes(tmp_path, monkeypatch):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(code_cache, "_PACKAGE", tmp_path / "package")
    monkeypatch.setattr(code_cache, "_places", lambda name: [tmp_path / "package" / "a.py" / name, tmp_path / name])
    calls = []

    def build():
        calls.append(1)
        return {"number": len(calls)}

    assert [code_cache.derived("facts", build)["number"] for _ in range(2)] == [1, 1]
    (tmp_path / "package" / "a.py").write_text("x = 12\n")
    assert code_cache.derived("facts", build) == {"number": 2}
    (tmp_path / "facts").write_text("{damaged")
    assert [code_cache.derived("facts", build)["number"] for _ in range(2)] == [3, 3]
    (tmp_path / "package" / "b.py").write_text("")
    assert code_cache.derived("facts", build) == {"number": 4}


def test_options_are_derived_anew_once_the_chosen_defaults_change(tmp_path):
    copy = tmp_path / "copy"
    for name in ("afterkernel", "conf", "sweeps"):
        shutil.copytree(CONF.parent / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "afterkernel", "--help", "dataset"]
    environment = os.environ | {"PYTHONPATH": str(copy)}

    def default():
        out = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=True).stdout
        return re.findall(r"^Options of dataset=(\w+):$", out, re.MULTILINE)

    assert default() == ["digits"]
    chosen = copy / "conf" / "config.yaml"
    chosen.write_text(chosen.read_text().replace("dataset: digits", "dataset: mnist"))
    assert default() == ["mnist"]


LIGHT = [
    *("--help", "--help svm", "--help all", "--help training.lrr", "report --help", "completion bash", "--version"),
    *(
        "doctor --help",
        "status nowhere",
        "evel",
        "--fast",
        "training.lr=x",
        "training.lr=-1",
        "training.lrr=1",
        "+sweep=dmo",
    ),
    *("arch=vgx", "svm=", "--multirun seed=0,1 sweep.on_error=halt", "seed=0 seed=1", "plan training.lr=x"),
]


@pytest.mark.parametrize("words", LIGHT)
def test_help_and_mistakes_import_nothing_heavy(words, tmp_path):
    command_facts(), option_groups()  # kept in files, as after any start of the program
    code = (
        "import sys; from afterkernel.__main__ import main\n"
        f"try: code = main({words.split()!r})\n"
        "except SystemExit as ended: code = ended.code\n"
        f"print(code, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    run = [sys.executable, "-c", code]
    subprocess.run([sys.executable, "-m", "afterkernel", "--help"], cwd=tmp_path, capture_output=True, check=True)
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
    fine = ("--help" in words.split() and "lrr" not in words) or words.startswith(("completion", "--version"))
    assert done.stdout.splitlines()[-1] == f"{0 if fine else 2} []"


def test_a_run_on_digits_imports_nothing_that_it_does_not_use(tmp_path):
    words = ["arch=mlp", "arch.width=3", "training.epochs=1", "snapshot.epochs=[]", "dataset.max_train=20"]
    words += ["dataset.max_test=10", "measure.num_images=5", "logger=none", "trainer.threads=1"]
    unused = ["sklearn", "pandas", "wandb", "duckdb", "joblib", "jinja2"]
    code = (
        f"import sys; from afterkernel.__main__ import main; code = main({words!r})\n"
        f"print(code, [name for name in {unused!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
