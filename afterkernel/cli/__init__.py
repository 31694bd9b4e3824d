"""The command line: one module per command, named after it, with `main(argv)`; and the shared parser.

The first line of a command's docstring is its line in the overview, in the group that its module names as GROUP. Slow
imports, such as torch, happen in functions: help and error messages must not wait for them.
"""

from __future__ import annotations

import argparse
import contextvars
import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from afterkernel.errors import UserError
from afterkernel.files.code_cache import derived
from afterkernel.plugins import without_collections
from afterkernel.text import closest

# The command without a name.
DEFAULT = "run"
PROGRAM = "python -m afterkernel"
# What help calls an option with its value.
OVERRIDE = "OPTION=VALUE"
# The groups of commands in the overview: each module names its own as GROUP, by default the last one.
RUN_AND_SWEEP, RESULTS, MAINTENANCE = GROUPS = ("Run and sweep", "Look at results", "Maintenance")
# Whether a parser is made only to be described.
_only_parser = contextvars.ContextVar("_only_parser", default=False)
# What help says of a path that may be a file of exported records.
A_FILE = "a FILE that results --export wrote"


def commands() -> list[str]:
    """The names of all commands but the default one."""
    names = (info.name for info in pkgutil.iter_modules(__path__))
    return [name.replace("_", "-") for name in names if name != DEFAULT and not name.startswith("_")]


def main_of(command: str) -> Callable[[Sequence[str]], int]:
    """The function of a command: takes its arguments and returns its exit code."""
    with without_collections(freeze=True):
        found: Callable[[Sequence[str]], int] = importlib.import_module(_module(command)).main
    return found


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag or an argument of a command; an argument has no names. `values` are its choices, if it has any."""

    names: list[str]
    metavar: str
    values: list[str]
    is_path: bool
    takes_value: bool
    help: str


@dataclasses.dataclass(frozen=True)
class CommandFacts:
    """What help and completion know of a command: the default one has an empty name."""

    name: str
    group: str
    usage: str
    purpose: str
    flags: list[Flag]

    @property
    def takes_overrides(self) -> bool:
        """Whether its arguments are options of a run."""
        return any(flag.metavar == OVERRIDE for flag in self.flags)


def command_facts() -> list[CommandFacts]:
    """All commands, the default one first; derived from their parsers, once for each version of the code."""
    return [
        CommandFacts(**{**each, "flags": [Flag(**flag) for flag in each["flags"]]})
        for each in derived("commands", lambda: [dataclasses.asdict(_facts(name)) for name in (DEFAULT, *commands())])
    ]


def _facts(command: str) -> CommandFacts:
    module = importlib.import_module(_module(command))
    usage, _, purpose = (module.__doc__ or "").partition("\n")[0].partition(": ")
    flags = []
    for action in parser_of(command)._actions:
        values = [str(value) for value in action.choices or ()]
        metavar = action.metavar if isinstance(action.metavar, str) else ""
        is_path = action.type is folder_argument
        help_text = "" if action.help in (None, argparse.SUPPRESS) else str(action.help)
        flags.append(Flag(list(action.option_strings), metavar, values, is_path, action.nargs != 0, help_text))
    name = "" if command == DEFAULT else command
    return CommandFacts(name, getattr(module, "GROUP", MAINTENANCE), usage, purpose.rstrip("."), flags)


def parser_of(command: str) -> CommandParser:
    """The parser that the function of a command makes; the command is not run."""
    token = _only_parser.set(True)
    try:
        main_of(command)([])
    except _ParserMade as made:
        return made.parser
    finally:
        _only_parser.reset(token)
    raise TypeError(f"the command {command} has no CommandParser")


class _ParserMade(Exception):  # noqa: N818 (no error: it ends a command that was to make its parser alone)
    def __init__(self, parser: CommandParser) -> None:
        super().__init__()
        self.parser = parser


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
            prog=f"{PROGRAM} {command}".rstrip(),
            description=description,
            epilog=f"example:\n  {PROGRAM} {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.command = command
        self.config_dir: Path | None = None

    def error(self, message: str) -> NoReturn:
        """Raise UserError."""
        raise UserError(f"{self.command or 'the command line'}: {message}; {self.prog} --help shows its usage.")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse what it knows, as argparse does; where only the parser is asked for, raise it instead."""
        if _only_parser.get():
            raise _ParserMade(self)
        return super().parse_known_args(args, namespace)

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
        parsed: argparse.Namespace
        parsed, rest = self.parse_known_args(argv)
        if flags := [word for word in rest if word.startswith("-")]:
            self.unknown_flag(flags[0])
        parsed.overrides = [*parsed.overrides, *rest]
        self.config_dir = vars(parsed).pop("config_dir")
        if self.config_dir is not None:
            from afterkernel.config import use_config_dir

            use_config_dir(self.config_dir, parsed.overrides)
        return parsed

    def unknown_flag(self, word: str) -> NoReturn:
        """Raise UserError for an unknown flag, with the most similar one."""
        flag = word.partition("=")[0]
        near = closest(flag, [*self._option_string_actions, *([] if self.command else ["--version"])], 0.75)
        hint = f"did you mean {near}?" if near else f"{self.prog} --help lists them."
        raise UserError(f"{word} is not an option of {self.command or 'the command line'}: {hint}")
