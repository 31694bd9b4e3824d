"""The command line: runs and sweeps, and the commands around them.

python -m afterkernel [OVERRIDES] [--multirun]     train, snapshot, evaluate, record
python -m afterkernel evaluate RUN_DIR [OVERRIDES] recompute kernels, SVM and measures from snapshots
python -m afterkernel report DIR                   tables, figures and one HTML page
python -m afterkernel dashboard DIR                the same for W&B: a workspace, a report, a run with the figures
python -m afterkernel results DIR                  the numbers, one row per snapshot and kernel
python -m afterkernel status DIR                   progress of each run and time remaining
python -m afterkernel plan [OVERRIDES]             what a Gram matrix will cost
python -m afterkernel doctor                       whether each SVM backend works here
python -m afterkernel wandb-sync DIR               upload what W&B wrote offline
python -m afterkernel COMMAND --help               usage, options and an example of a command
python -m afterkernel --version                    the version
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence

from afterkernel.errors import UserError
from afterkernel.suggest import closest

# What the system answers to a path that no file can have, or that this user may not use.
_BAD_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EACCES)

MULTIRUN = ("--multirun", "-m")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 if it did its job, 2 for a user's mistake, 3 if damaged
    files were skipped.
    """
    if arguments is not None:
        sys.argv[1:] = arguments  # records keep the command that made them
    try:
        code = _run(sys.argv[1:])
        sys.stdout.flush()  # a closed pipe raises here, where it is caught
        return code
    except UserError as error:
        print(f"afterkernel: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads what is printed has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes what remains as it exits
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno not in _BAD_PATH:
            raise
        name = str(error.filename)
        shown = name if len(name) <= 200 else f"{name[:200]}..."
        print(f"afterkernel: {shown} can't be used ({error.strerror}): name another file or folder.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "afterkernel: interrupted; what is recorded is kept, and the same command runs what is missing.",
            file=sys.stderr,
        )
        return 130


def _run(argv: list[str]) -> int:
    command = argv[0] if argv else ""
    if command in COMMANDS:
        from afterkernel.records.skipped import EXIT_CODE, reporting_skipped

        with reporting_skipped() as skipped:
            code = COMMANDS[command](argv[1:])
        return code or (EXIT_CODE if skipped else 0)
    if command == "--version":
        from importlib.metadata import version

        print(f"afterkernel {version('afterkernel')}")
        return 0
    if set(argv) & {"-h", "--help"}:
        from afterkernel.config.help import help_text

        print(help_text(__doc__ or ""))
        return 0
    if command and "=" not in command and command[0] not in "-~":
        near = closest(command, [*COMMANDS, "--help", "--version"])
        hint = f"did you mean {near}?" if near else "write options as name=value, and see --help."
        raise UserError(f"{command!r} is neither a command nor an option: {hint}")
    from afterkernel.sweep.cli import main as sweep_main

    # argparse takes the flag before all overrides or after them, not between.
    flags = [word for word in argv if word in MULTIRUN]
    return sweep_main([*flags[:1], *(word for word in argv if word not in MULTIRUN)])


def _evaluate(argv: list[str]) -> int:
    from afterkernel.commands import evaluate_main

    return evaluate_main(argv)


def _plan(argv: list[str]) -> int:
    from afterkernel.commands import plan_main

    return plan_main(argv)


def _report(argv: list[str]) -> int:
    from afterkernel.report.cli import main

    return main(argv)


def _dashboard(argv: list[str]) -> int:
    from afterkernel.dashboard.cli import main

    return main(argv)


def _results(argv: list[str]) -> int:
    from afterkernel.records.cli import main

    return main(argv)


def _status(argv: list[str]) -> int:
    from afterkernel.sweep.status import main

    return main(argv)


def _doctor(argv: list[str]) -> int:
    from afterkernel.arguments import CommandParser

    CommandParser("doctor", "Check each SVM backend on a problem with a known answer.", "doctor").parse_args(argv)
    from afterkernel.doctor import main

    return main()


def _wandb_sync(argv: list[str]) -> int:
    from afterkernel.logger.sync import main

    return main(argv)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "evaluate": _evaluate,
    "report": _report,
    "dashboard": _dashboard,
    "results": _results,
    "status": _status,
    "plan": _plan,
    "doctor": _doctor,
    "wandb-sync": _wandb_sync,
}

if __name__ == "__main__":
    sys.exit(main())
