"""Run experiments and sweeps, and evaluate, report and inspect their results."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from afterkernel.cli import DEFAULT, commands, load_plugins, main_of
from afterkernel.errors import UserError
from afterkernel.exit_codes import ExitCode
from afterkernel.plugins import own_process
from afterkernel.progress.display import waiting
from afterkernel.text import closest

# Errors of the system for a path that no file can have, or that this user may not use.
_BAD_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (see `ExitCode`)."""
    if arguments is not None:
        sys.argv[1:] = arguments  # records keep the command that made them
    try:
        code = _run(sys.argv[1:])
        sys.stdout.flush()  # a closed pipe raises here, where it is caught
        return code
    except UserError as error:
        # One line, even if a name that it quotes contains a line break.
        print(f"afterkernel: {str(error).replace(chr(10), chr(92) + 'n')}", file=sys.stderr)
        return ExitCode.USER_ERROR
    except BrokenPipeError:  # the reader of the output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes what remains as it exits
        return ExitCode.CLOSED_PIPE
    except OSError as error:
        name = str(error.filename)
        shown = name if len(name) <= 200 else f"{name[:200]}..."
        if error.errno in _FULL:
            message = "the disk is full: make space and run the same command again; what is recorded is kept."
        elif error.errno in _BAD_PATH:
            message = f"{shown} can't be used ({error.strerror}): name another file or folder."
        else:
            raise
        print(f"afterkernel: {message}", file=sys.stderr)
        return ExitCode.USER_ERROR
    except KeyboardInterrupt:
        print(
            "afterkernel: interrupted; snapshots and records are kept, and the same command continues from them.",
            file=sys.stderr,
        )
        return ExitCode.INTERRUPTED


def _run(argv: list[str]) -> int:
    command = argv[0] if argv else ""
    if command in commands():
        from afterkernel.cli._skipped import reporting_skipped

        with reporting_skipped() as skipped:
            code = main_of(command)(load_plugins(argv[1:]))
        return code or (ExitCode.SKIPPED if skipped else ExitCode.DONE)
    if "--version" in argv:
        from importlib.metadata import version

        print(f"afterkernel {version('afterkernel')}")
        return 0
    if {"-h", "--help"} & set(argv):
        from afterkernel.cli._help import main as print_help

        return print_help(argv)
    if command and "=" not in command and command[0] not in "-~":
        near = closest(command, [*commands(), "--help", "--version"])
        hint = f"did you mean {near}?" if near else "write options as name=value, and see --help."
        if "." in command and near is None:  # such as "training.lr 0.1"
            hint = f"write options as name=value, such as {command}={argv[1] if len(argv) > 1 else 'VALUE'}."
        raise UserError(f"{command!r} is neither a command nor an option: {hint}")
    with waiting("loading packages and reading the options"):
        return main_of(DEFAULT)(argv)


def program() -> int:
    """Run the command of this process, which is the program's alone, and return its exit code."""
    own_process()
    return main()


if __name__ == "__main__":
    sys.exit(program())
