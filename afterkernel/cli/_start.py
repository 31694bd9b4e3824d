"""Composes the options of a command line, then runs one job or a grid of them. It imports torch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import hydra.version
from hydra._internal.utils import _run_hydra
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig

from afterkernel.cli import CommandParser
from afterkernel.config import CONF, compose, parse, to_config
from afterkernel.config.overrides import check_once
from afterkernel.errors import UserError
from afterkernel.exit_codes import ExitCode
from afterkernel.sweep.composer import Composer
from afterkernel.sweep.estimate import print_plan
from afterkernel.sweep.grid import compose_grid, grids_of, planned_run
from afterkernel.sweep.run_one import run_one
from afterkernel.sweep.run_sweep import run_sweep


def start(parsed: argparse.Namespace) -> int:
    """Run what the parsed command line asks for. Raises UserError before any work starts."""
    shows = parsed.cfg is not None or parsed.info is not None
    overrides = parse(parsed.overrides)
    check_once(overrides)
    if shows and (several := [_word(each) for each in overrides if each.is_sweep_override()]):
        raise UserError(f"{several[0]} names several values, and --cfg and --info show one run: give one of them.")
    # What is the same in every run of a grid.
    held = compose([_word(each) for each in overrides if not each.is_sweep_override()], with_hydra=True)
    if shows:
        _show(parsed)
        return ExitCode.DONE
    swept = [f"{name}={values}" for name, values in (held.hydra.sweeper.params or {}).items()]
    if parsed.multirun or swept or held.hydra.mode == RunMode.MULTIRUN:
        return _run_grid(swept, parsed.overrides, held)
    if several := [_word(each) for each in overrides if each.is_sweep_override()]:
        raise UserError(f"{several[0]} names several values: add --multirun to sweep over them.")
    config = to_config(held)
    if config.sweep.also:
        raise UserError("sweep.also adds grids to a sweep, and this is one run: add --multirun, or leave it out.")
    if not config.sweep.dry_run:
        return run_one(config)
    print_plan([planned_run(config)])
    return ExitCode.DONE


def _run_grid(swept: Sequence[str], given: Sequence[str], held: DictConfig) -> int:
    """Compose and check every run that a sweep file's and the given overrides span, then run what is not finished."""
    planned_runs = compose_grid(Composer(compose), *grids_of(swept, given, held))
    first = planned_runs[0].config
    if not first.sweep.dry_run:
        return run_sweep(planned_runs, first.launcher, first.sweep.on_error)
    print_plan(planned_runs)
    return ExitCode.DONE


def _show(parsed: argparse.Namespace) -> None:
    """Print what Hydra composes, as its own --cfg and --info do; hydra.main would take sys.argv, all flags included."""
    hydra.version.setbase("1.3")
    left_out = ("package", "config_name", "config_path", "config_dir", "experimental_rerun")
    no = dict.fromkeys(("run", "help", "hydra_help", "shell_completion"), False) | dict.fromkeys(left_out)
    _run_hydra(
        args=argparse.Namespace(**vars(parsed), **no),
        args_parser=CommandParser("", "", ""),
        task_function=lambda _: None,
        config_path=str(CONF),
        config_name="config",
    )


def _word(override: Override) -> str:
    return override.input_line or ""
