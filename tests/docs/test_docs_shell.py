"""Every shell block of the documentation means the same in bash and zsh, and the program takes each command in it."""

import re
import shlex
import tomllib
from pathlib import Path

import doc_blocks
import pytest
from doc_blocks import ROOT, SHELLS
from PIL import Image

from afterkernel.__main__ import main
from afterkernel.cli import CommandParser, _start, commands
from afterkernel.config import compose, parse, to_config

BLOCKS = [block for block in doc_blocks.blocks() if block.language in SHELLS]
RECORDS = ROOT / "docs" / "results" / "ten_classes" / "records.parquet"
# Blocks with these words are run by tests/program/test_extending.py and test_contributing.py.
GUIDES = {"docs/extending.md": "", "docs/contributing.md": "runs/condition"}
# Words that a reader replaces, with what this test puts there.
PLACEHOLDERS = {
    "DIR": "images",
    "FOLDER": "runs/demo",
    "RUN_ID": "vgg-lr0.1-seed0-00000000",
    "NAME": "demo",
    "N": "1",
    "AUTHOR_DIR": "images",
    "PYTHON": "python3",
    "FILE": "demo.parquet",
}
OTHER_PROGRAMS = {
    *("apt-get", "cat", "cd", "cp", "export", "git", "mkdir", "module", "open", "rm", "sbatch", "scontrol", "squeue"),
    *("srun", "ray", "sinfo", "tail", "wandb", "xdg-open", "pytest", "torchrun", "nvidia-smi", "chromium", "pip"),
}
MAKEFILE = (ROOT / "Makefile").read_text()
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


class ParsedError(Exception):
    """Ends a command once its words are parsed."""


def words_of(block, folder):
    return doc_blocks.commands(doc_blocks.shell("bash"), block.text, folder)


def filled(word):
    return re.sub(rf"\b({'|'.join(PLACEHOLDERS)})\b", lambda match: PLACEHOLDERS[match[1]], word)


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_every_block_is_right_in_the_shell(name, tmp_path):
    if (program := doc_blocks.shell(name)) is None:
        pytest.skip(f"{name} is not installed")
    faults = []
    for block in BLOCKS:
        if error := doc_blocks.syntax_error(program, block.text):
            faults.append(f"{block.place}: {error}")
            continue
        try:
            found = doc_blocks.commands(program, block.text, tmp_path)
        except AssertionError as error:
            faults.append(f"{block.place}: {error}")
            continue
        if found != words_of(block, tmp_path):
            faults.append(f"{block.place}: {name} and bash pass other words")
    assert not faults, "\n".join(faults)


def test_the_check_of_shells_sees_what_only_one_of_them_refuses(tmp_path):
    for text in ("python -m afterkernel keep=[gram]\n", "python -m afterkernel x=a*b\n"):
        for name in filter(None, map(doc_blocks.shell, ("bash", "zsh"))):
            with pytest.raises(AssertionError, match="no match"):
                doc_blocks.commands(name, text, tmp_path)
    assert doc_blocks.syntax_error(doc_blocks.shell("bash"), "python -m afterkernel seed=range(0,5)\n")
    assert doc_blocks.commands(doc_blocks.shell("bash"), "python 'a b' $HOME # c\nmake demo\n", tmp_path) == [
        ["python", "a b", str(tmp_path)],
        ["make", "demo"],
    ]


def trailing_comments(text):
    """The lines of a shell block with a comment, which interactive zsh passes on as words."""
    return [line for line in text.splitlines() if re.search(r"(^|\s)#", re.sub(r"'[^']*'|\"[^\"]*\"", "", line))]


def test_the_first_pages_can_be_pasted_into_an_interactive_zsh():
    first = [block for block in BLOCKS if block.page in ("README.md", "docs/index.md")]
    assert len(first) > 5
    assert [f"{block.place}: {line}" for block in first for line in trailing_comments(block.text)] == []
    assert trailing_comments("make demo  # all\n# alone\npip install '.[a] # b'\n") == ["make demo  # all", "# alone"]


@pytest.fixture
def stopped(tmp_path, monkeypatch, installed, importable):
    """Commands of the program end once their words are checked; folders and packages that they name exist."""
    monkeypatch.chdir(tmp_path)
    installed("sbatch", "squeue", "scancel", "scontrol")
    importable("ray")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    for split in ("train", "test"):
        for label in ("cat", "dog", "cats", "dogs", "automobile", "truck"):
            (tmp_path / "images" / split / label).mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (32, 32)).save(tmp_path / "images" / split / label / f"{number}.png")

    def stop(method):
        def parse(self, *words, **named):
            raise ParsedError(self.command, method(self, *words, **named))

        return parse

    # What trains and what prints a table is replaced; what reads the words is not. Of a grid the first and the last run
    # are composed and checked.
    for name in ("run_one", "run_sweep", "print_plan"):
        monkeypatch.setattr(_start, name, lambda *_: 0)
    grids_of = _start.grids_of
    monkeypatch.setattr(_start, "grids_of", lambda *given: [[jobs[0], *jobs[1:][-1:]] for jobs in grids_of(*given)])
    real = {name: getattr(CommandParser, name) for name in ("parse_args", "parse_overrides")}

    def check(words):
        command = words[0] if words else ""
        if command in ("results", "power"):
            known = [str(RECORDS) if re.fullmatch(r"runs/\S+|\w+\.parquet", word) else word for word in words]
            if "--export" not in words and command == "results":
                return main(known)
        with monkeypatch.context() as patch:
            if command in commands():
                for name, method in real.items():
                    patch.setattr(CommandParser, name, stop(method))
            try:
                return main(words)
            except ParsedError as parsed:
                overrides = [
                    each.input_line
                    for each in parse(getattr(parsed.args[1], "overrides", []))
                    if not each.is_sweep_override()
                ]
        # verify takes options of the recorded runs, here those of MNIST.
        to_config(compose(["dataset=mnist", *overrides] if command == "verify" else overrides))
        return 0

    return check


def run_elsewhere(block):
    return block.page in GUIDES and GUIDES[block.page] in block.text


def fault_of(words, check, capfd):
    """What is wrong with a command; None if nothing is."""
    if words[0] == "timeout":
        words = words[words.index("python") :]
    program, rest = Path(words[0]).name, [filled(word) for word in words[1:]]
    if program == "afterkernel" or (program.startswith("python") and rest[:2] == ["-m", "afterkernel"]):
        given = rest if program == "afterkernel" else rest[2:]
        code = check(given)
        err = capfd.readouterr().err
        return None if code == 0 else err
    if program == "make":
        return _fault_of_make(rest, check, capfd)
    if program.startswith("python") or program == "torchrun":
        return _fault_of_python(rest)
    return None if program in OTHER_PROGRAMS else f"{program} is not a program that this test knows"


def _fault_of_make(words, check, capfd):
    targets = [word for word in words if "=" not in word]
    given = dict(word.split("=", 1) for word in words if "=" in word)
    for target in targets:
        if not re.search(rf"^{re.escape(target)}:", MAKEFILE, re.MULTILINE):
            return f"the Makefile has no target {target}"
    for name in given:
        if f"$({name})" not in MAKEFILE:
            return f"the Makefile has no variable {name}"
    sweeps = {"sweep": given.get("SWEEP", "demo"), "demo": "demo", "paper": "paper", "paper-plan": "paper"}
    if targets and targets[0] in sweeps:
        code = check([f"+sweep={sweeps[targets[0]]}", *shlex.split(given.get("ARGS", ""))])
        return capfd.readouterr().err if code else None
    return None


def _fault_of_python(words):
    if words[:2] == ["-m", "pip"]:
        extras = [name for word in words for found in re.findall(r"\[(.*)\]", word) for name in found.split(",")]
        return next((f"there is no extra {name}" for name in extras if name not in EXTRAS), None)
    if words[:2] == ["-m", "pytest"]:
        return next((f"there is no {word}" for word in words if "/" in word and not (ROOT / word).exists()), None)
    if words[:2] == ["-m", "venv"] or words[:1] == ["-c"]:
        return None
    scripts = [word for word in words if word.endswith(".py")]
    if not scripts:
        return f"python {words} starts nothing that this test knows"
    if not (ROOT / scripts[0]).is_file():
        return None if scripts[0].startswith("my_lab/") else f"there is no {scripts[0]}"
    # The examples take their flags from a module that they share.
    shared = ROOT / scripts[0].replace(Path(scripts[0]).name, "common.py")
    text = (ROOT / scripts[0]).read_text() + (shared.read_text() if shared.is_file() else "")
    return next((f"{scripts[0]} has no {flag}" for flag in words if flag.startswith("--") and flag not in text), None)


def test_the_program_takes_every_command(stopped, tmp_path, capfd):
    faults, seen = [], set()
    for block in BLOCKS:
        if block.reason or run_elsewhere(block):
            continue
        for words in words_of(block, tmp_path):
            if tuple(words) not in seen:
                seen.add(tuple(words))
                if fault := fault_of(words, stopped, capfd):
                    faults.append(f"{block.place}: {shlex.join(words)}\n    {fault}")
    assert not faults, "\n".join(faults)
    assert len(seen) > 60


def test_what_is_not_run_says_why():
    reasons = {block.place: block.reason for block in doc_blocks.blocks() if block.reason}
    print("\n".join(f"{place}: {reason}" for place, reason in reasons.items()))
    assert all(len(reason) > 10 for reason in reasons.values())


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("make paper ROOT=DIR", "no variable ROOT"),
        ("make papers", "no target papers"),
        ("python benchmarks/kernels.py --fast", "has no --fast"),
        ("python -m afterkernel training.lrr=1", "training.lrr is not an option"),
        ("python -m afterkernel report runs/demo --fast", "--fast is not an option"),
        ("python -m afterkernel results runs/demo --where 'epochs = 1'", "epochs"),
        ("python -m pip install 'afterkernel[tpu]'", "no extra tpu"),
        ("kubectl apply", "not a program"),
    ],
)
def test_a_wrong_command_is_found(command, fault, stopped, capfd):
    try:
        found = fault_of(shlex.split(command), stopped, capfd)
    except Exception as error:
        found = str(error)
    assert fault in (found or "")
