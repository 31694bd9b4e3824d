"""The completion scripts, sourced in the real shells, which complete what is typed into their terminal."""

import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest

from afterkernel.cli import commands
from afterkernel.cli.completion import option_values, script
from afterkernel.config.catalogue import every_option
from afterkernel.config.places import sweep_names

# What is typed, and the line after a tab. `mine` is a sweep of the working folder.
TYPED = {
    "afterkernel stat": "afterkernel status ",
    "afterkernel training.optim": "afterkernel training.optimizer=",
    "afterkernel arch=vg": "afterkernel arch=vgg",
    "afterkernel training.lr=0.1 svm=libs": "afterkernel training.lr=0.1 svm=libsvm",
    "afterkernel kernel.names=[ntk,conj": "afterkernel kernel.names=[ntk,conjugate",
    "afterkernel --multirun arch=mlp,re": "afterkernel --multirun arch=mlp,resnet",
    "afterkernel dataset=mnist_3": "afterkernel dataset=mnist_3_8",
    "afterkernel +sweep=dem": "afterkernel +sweep=demo",
    "afterkernel +sweep=min": "afterkernel +sweep=mine",
    "afterkernel dataset.root=ima": "afterkernel dataset.root=images/",
    "afterkernel report im": "afterkernel report images/",
    "afterkernel results --wher": "afterkernel results --where ",
    "afterkernel report images --format mark": "afterkernel report images --format markdown ",
    "afterkernel plan arch=ml": "afterkernel plan arch=mlp",
    "python -m afterkernel svm=libs": "python -m afterkernel svm=libsvm",
    "python -m afterkernel verif": "python -m afterkernel verify ",
    "python ima": "python images/",
}
# zsh would expand an unquoted [, so that such a list has to be quoted there.
QUOTED = {"afterkernel kernel.names=[ntk,conj": "afterkernel 'kernel.names=[ntk,conj"}
# Prints the line, as it is after the tab, between marks; bound to Ctrl-X.
SETUP = {
    "bash": "bind 'set enable-bracketed-paste off'; bind 'set bell-style none'; "
    """bind -x '"\\C-x": printf "<<%s>>" "$READLINE_LINE"'; . ./script; echo rea''dy""",
    "zsh": "autoload -U compinit; compinit -u -D; unsetopt zle_bracketed_paste; unset zle_bracketed_paste; "
    """show() { printf "<<%s>>" "$BUFFER" }; zle -N show; bindkey '^X' show; . ./script; echo rea''dy""",
}
START = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}
DEADLINE_S = 60.0


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text("seed: 1\n")
    return tmp_path


def installed_shell(name):
    if (found := shutil.which(name)) is None:
        pytest.skip(f"{name} is not installed")
    return found


class Terminal:
    """A shell in a terminal of its own."""

    def __init__(self, command, folder):
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(command[0], command, {**os.environ, "TERM": "dumb", "PS1": "$ ", "HISTFILE": "/dev/null"})

    def send(self, text):
        os.write(self.descriptor, text.encode())

    def read_until(self, pattern):
        text, deadline = "", time.monotonic() + DEADLINE_S
        while (found := re.search(pattern, text, re.DOTALL)) is None:
            assert time.monotonic() < deadline, text
            if select.select([self.descriptor], [], [], 1)[0]:
                text += os.read(self.descriptor, 65536).decode(errors="replace")
        return found

    def close(self):
        os.close(self.descriptor)
        os.waitpid(self.pid, 0)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_tab_completes_the_line(shell, folder):
    (folder / "script").write_text(script(shell))
    terminal = Terminal([installed_shell(shell), *START[shell]], folder)
    try:
        terminal.send(SETUP[shell] + "\n")
        terminal.read_until("ready")
        found = {}
        for typed in TYPED:
            given = QUOTED.get(typed, typed) if shell == "zsh" else typed
            terminal.send(f"{given}\t\x18")
            found[typed] = terminal.read_until("<<(.*?)>>")[1].replace("'", "")
            terminal.send("\x15")
    finally:
        terminal.close()
    assert found == TYPED


def test_fish_completes_the_line(folder):
    fish = installed_shell("fish")
    (folder / "script").write_text(script("fish"))
    for typed, wanted in TYPED.items():
        code = f"source script; complete -C {typed!r}"
        done = subprocess.run([fish, "--no-config", "-c", code], cwd=folder, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        found = {line.partition("\t")[0] for line in done.stdout.splitlines()}
        assert wanted.split()[-1] in found, (typed, found)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_has_every_command_option_and_sweep(shell):
    words = set(re.findall(r"[\w.+-]+=?", script(shell)))
    options = {f"{name}=" for name in every_option() if not name.endswith(".name")}
    assert {*commands(), *options, "sweep.name=", "+sweep=", "experiment=", *sweep_names()} <= words


def test_values_are_those_that_options_declare():
    values = option_values()
    assert values["training.augment"] == ["none", "rotation", "rotation_shift"]
    assert values["svm.intercept"] == ["true", "false"]
    assert values["output_dir"] == ["PATH"]
    assert values["training.lr"] == []
    assert {"libsvm", "exact"} <= set(values["svm"])
    assert "svm.name" not in values
