"""The command line: one module per command, named after it, with `main(argv)`; and the shared parser.

The first line of a command's docstring is its line in the overview. Slow imports, such as torch, happen in functions:
help and error messages must not wait for them.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from afterkernel.errors import UserError
from afterkernel.exit_codes import ExitCode
from afterkernel.plugins import without_collections
from afterkernel.text import closest

# The command without a name.
DEFAULT = "run"
# What help says of a path that may be a file of exported records.
A_FILE = "a FILE that results --export wrote"


def commands() -> list[str]:
    """The names of all commands but the default one."""
    names = (info.name for info in pkgutil.iter_modules(__path__))
    return [name.replace("_", "-") for name in names if name != DEFAULT and not name.startswith("_")]


def main_of(command: str) -> Callable[[Sequence[str]], int]:
    """The function of a command: takes its arguments and returns its exit code."""
    with without_collections():
        found: Callable[[Sequence[str]], int] = importlib.import_module(_module(command)).main
    return found


def overview() -> str:
    """One line per command: its usage and what it does."""
    lines = []
    for command in (DEFAULT, *commands()):
        usage, _, purpose = (importlib.import_module(_module(command)).__doc__ or "").partition("\n")[0].partition(": ")
        lines.append(f"{f'python -m afterkernel {usage}':<50} {purpose.rstrip('.')}")
    lines.append(f"{'python -m afterkernel COMMAND --help':<50} usage, options and an example of a command")
    lines.append(f"{'python -m afterkernel --version':<50} the version")
    lines += ["", "Exit codes:", *(f"  {code:<4} {code.meaning}" for code in ExitCode)]
    return "\n".join(lines)


def load_plugins(argv: Sequence[str]) -> list[str]:
    """Import the plugins that a command line names by plugins=[...], and return its other words."""
    if words := [word for word in argv if word.startswith("plugins=")]:
        from afterkernel.config import parse

        parse(words)
    return [word for word in argv if word not in words]


def _module(command: str) -> str:
    return f"{__name__}.{command.replace('-', '_')}"


def folder_argument(text: str) -> Path:
    """The type of a path argument: refuses an empty one, which would be the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty: give the name of a folder")
    return Path(text)


class CommandParser(argparse.ArgumentParser):
    """The parser of one command: its errors are UserErrors, and its help ends with an example.

    `description` is one sentence; `example` is what follows `python -m afterkernel` on the command line.
    """

    def __init__(self, command: str, description: str, example: str) -> None:
        super().__init__(
            prog=f"python -m afterkernel {command}".rstrip(),
            description=description,
            epilog=f"example:\n  python -m afterkernel {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.command = command

    def error(self, message: str) -> NoReturn:
        """Raise UserError."""
        raise UserError(f"{self.command or 'the command line'}: {message}; {self.prog} --help shows its usage.")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse all words. Raises UserError for a flag or a word that the command does not take."""
        parsed, rest = self.parse_known_args(args, namespace)
        for word in rest:
            if word.startswith("-"):
                self.unknown_flag(word)
            self.error(f"{word} is an unexpected argument")
        return parsed

    def parse_overrides(self, argv: list[str]) -> argparse.Namespace:
        """Parse a command that takes overrides as its last argument; they may begin with ~ or + but not with a dash.

        Raises UserError for a flag that the command does not have.
        """
        self.add_argument(
            "--config-dir",
            "-cd",
            type=folder_argument,
            metavar="DIR",
            help="also choose among DIR/GROUP/NAME.yaml and DIR/sweeps/NAME.yaml",
        )
        parsed, rest = self.parse_known_args(argv)
        if flags := [word for word in rest if word.startswith("-")]:
            self.unknown_flag(flags[0])
        parsed.overrides = [*parsed.overrides, *rest]
        if (folder := vars(parsed).pop("config_dir")) is not None:
            from afterkernel.config import use_config_dir

            use_config_dir(folder, parsed.overrides)
        return parsed

    def unknown_flag(self, word: str) -> NoReturn:
        """Raise UserError for an unknown flag, with the most similar one."""
        flag = word.partition("=")[0]
        near = closest(flag, [*self._option_string_actions, *([] if self.command else ["--version"])], 0.75)
        hint = f"did you mean {near}?" if near else f"{self.prog} --help lists them."
        raise UserError(f"{word} is not an option of {self.command or 'the command line'}: {hint}")
