"""The guide to a new measure in docs/contributing.md, followed step by step in a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import afterkernel as ak

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "contributing.md"
SMALL = ["arch.budget=1500", "snapshot.epochs=[0]", "dataset.max_train=40", "dataset.max_test=20", "logger=none"]


@pytest.fixture(scope="module")
def steps():
    """The blocks of the guide, by language, in order."""
    text = GUIDE.read_text().partition("## A new measure in 15 minutes")[2].partition("\n## ")[0]
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def clone(tmp_path_factory, steps):
    """A copy of what the guide touches, with the files of the guide."""
    made = tmp_path_factory.mktemp("clone")
    for name in ("afterkernel", "conf", "sweeps", "tests"):
        shutil.copytree(ROOT / name, made / name, ignore=shutil.ignore_patterns("__pycache__"))
    (made / "docs").mkdir()
    for name in ("pyproject.toml", "docs/definitions.md", "docs/options.md"):
        shutil.copy(ROOT / name, made / name)
    files = [text for language, text in steps if language == "python"]
    assert len(files) == 2
    for text in files:
        (made / re.match(r"# (\S+)\n", text)[1]).write_text(text)
    return made


def run(clone, *words):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(clone), os.environ["PYTHONPATH"]])}
    done = subprocess.run([sys.executable, *words], cwd=clone, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_measure_is_in_results_and_in_the_report(clone, steps):
    (commands,) = (text for language, text in steps if "sweep.name=condition" in text)
    lines = [line.split()[1:] for line in commands.splitlines()]
    outputs = [run(clone, *words, *(SMALL if "arch=mlp" in words else [])) for words in lines]
    assert "log10_condition" in outputs[1]
    values = ak.results(clone / "runs" / "condition", "kernel = 'ntk'")["log10_condition"]
    assert len(values) == 2
    assert (values > 0).all()
    page = clone / "runs" / "condition" / "report" / "index.html"
    assert "Condition number (powers of 10)".lower() in page.read_text().lower()


def test_its_test_passes_and_the_pages_get_the_measure(clone, steps):
    assert "2 passed" in run(clone, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/measures/test_condition.py")
    (commands,) = (text for language, text in steps if "options_page.py" in text)
    for line in commands.splitlines():
        run(clone, *line.split()[1:])
    assert "condition number of the sample's Gram matrix" in (clone / "docs" / "options.md").read_text()


def test_the_files_are_formatted_as_the_repository_is(clone):
    if (ruff := shutil.which("ruff", path=str(Path(sys.executable).parent))) is None:
        pytest.skip("ruff is not installed")
    for command in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        files = ["afterkernel/measures/condition.py", "tests/measures/test_condition.py"]
        done = subprocess.run([ruff, *command, *files], cwd=clone, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
