"""`python -m afterkernel [OVERRIDES] [--multirun]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from unittest import mock

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from hydra.types import RunMode

from afterkernel.config import CONF, compose, explain, typed
from afterkernel.errors import UserError


def main(argv: Sequence[str]) -> int:
    """Run one job, or with --multirun (or a +sweep=NAME) a grid of them. Raises UserError before any work starts."""
    arguments = list(argv)
    parsed, unknown = get_args_parser().parse_known_args(arguments)
    if flags := [word for word in unknown if word.startswith("-")]:
        raise UserError(f"{flags[0]} is not an option of the command line: python -m afterkernel --help lists them.")
    _check_flags(parsed)
    held = compose(_held(parsed.overrides), with_hydra=True)
    # A sweep file says so, but Hydra looks for values to sweep over before it reads the file.
    grid = held.hydra.mode == RunMode.MULTIRUN or bool(held.hydra.sweeper.params)
    if not parsed.multirun and (grid or typed(compose(parsed.overrides)).sweep.dry_run):
        arguments.insert(0, "--multirun")  # the plan of a single run is that of a grid of one
    # A worker finds the job by its module's name, so it must not be that of the program started.
    from afterkernel.sweep.task import task

    with mock.patch.object(sys, "argv", [sys.argv[0], *arguments]):
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()
    return 0


def _check_flags(parsed: argparse.Namespace) -> None:
    """Raise UserError for Hydra's flags that have no meaning here."""
    for name in ("config_name", "config_path", "config_dir"):
        if getattr(parsed, name):
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} is not taken here: choose among the files of conf, or write a sweeps/NAME.yaml.")
    if parsed.resolve and not (parsed.cfg or parsed.help):
        raise UserError("--resolve goes with --cfg alone: --cfg job --resolve.")


def _held(overrides: Sequence[str]) -> list[str]:
    """The overrides of a multirun that are the same in every job; the sweeper checks what the others make."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise UserError(explain(error)) from error
    if several := [
        each for each in parsed if each.is_sweep_override() and each.get_key_element().lstrip("+") == "sweep"
    ]:
        word = several[0].input_line
        raise UserError(f"{word} names several files, whose grids can't be joined: run them one by one.")
    return [override.input_line or "" for override in parsed if not override.is_sweep_override()]
