"""The command lines of all commands: one parser class, with help, an example, and errors in one sentence."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from afterkernel.errors import UserError
from afterkernel.suggest import closest


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
            self.error(f"{word} is one argument too many")
        return parsed

    def parse_overrides(self, argv: list[str]) -> argparse.Namespace:
        """Parse a command that takes overrides as its last argument; they may begin with ~ or + but not with a dash.

        Raises UserError for a flag that the command does not have.
        """
        parsed, rest = self.parse_known_args(argv)
        if flags := [word for word in rest if word.startswith("-")]:
            self.unknown_flag(flags[0])
        parsed.overrides = [*parsed.overrides, *rest]
        return parsed

    def unknown_flag(self, word: str) -> NoReturn:
        """Raise UserError for a flag that the command does not have, with the one that is close."""
        flag = word.partition("=")[0]
        near = closest(flag, [*self._option_string_actions, *([] if self.command else ["--version"])], 0.75)
        hint = f"did you mean {near}?" if near else f"{self.prog} --help lists them."
        raise UserError(f"{word} is not an option of {self.command or 'the command line'}: {hint}")
