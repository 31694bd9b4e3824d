"""[OVERRIDES] [--multirun]: train, snapshot, evaluate, record."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from afterkernel.cli import OVERRIDE, RUN_AND_SWEEP, CommandParser
from afterkernel.errors import UserError
from afterkernel.exit_codes import ExitCode

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

GROUP = RUN_AND_SWEEP
# Flags of Hydra's own command line that have no place here, each with what to do instead.
_REFUSED = {
    "--config-name": "choose among the files of conf, or write a sweeps/NAME.yaml",
    "--config-path": "--config-dir takes a folder of yours",
    "--experimental-rerun": "it loads a pickle, which can run code; give the same options again",
    "--package": "--cfg job prints the whole configuration",
    "--run": "leave it out, a run is the default",
    "--hydra-help": "use --help",
    "--shell-completion": "the command completion prints a script for your shell",
}
_MULTIRUN = ("--multirun", "-m")
_SHORT = {"-cn": "--config-name", "-cp": "--config-path"}
_SHORT |= {"-p": "--package", "-r": "--run", "-sc": "--shell-completion"}


def parser() -> CommandParser:
    """The command line without a command: flags, and overrides."""
    made = CommandParser("", "Train, snapshot, evaluate and record.", "arch=mlp training.lr=0.1")
    made.add_argument("overrides", nargs="*", metavar=OVERRIDE)
    made.add_argument("--multirun", "-m", action="store_true", help="run every combination of the values")
    made.add_argument("--cfg", "-c", choices=("job", "hydra", "all"), help="print the configuration and end")
    made.add_argument("--resolve", action="store_true", help="with --cfg: resolve references")
    made.add_argument(
        "--info",
        "-i",
        nargs="?",
        const="all",
        choices=("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
        help="print what Hydra found and end",
    )
    return made


def main(argv: Sequence[str]) -> int:
    """Run one job, or with --multirun (or a +sweep=NAME) a grid of them. Raises UserError before any work starts."""
    # argparse takes the flag before all overrides or after them, not between.
    flags = [word for word in argv if word in _MULTIRUN]
    argv = [*flags[:1], *(word for word in argv if word not in _MULTIRUN)]
    for word in argv:
        flag = word.partition("=")[0]
        if (name := _SHORT.get(flag, flag)) in _REFUSED:
            raise UserError(f"{name} is not available: {_REFUSED[name]}.")
    parsed = parser().parse_overrides(list(argv))
    shows = parsed.cfg is not None or parsed.info is not None
    if parsed.resolve and parsed.cfg != "job":
        raise UserError("--resolve needs --cfg: write --cfg job --resolve.")
    if shows and (parsed.multirun or (parsed.cfg and parsed.info)):
        raise UserError("--cfg, --info and --multirun can't be combined: give one of them.")
    # Before the imports that follow, which take seconds.
    from afterkernel.config.overrides import check_early, check_once

    check_early(parsed.overrides)

    from hydra.types import RunMode

    from afterkernel.config import compose, parse, to_config
    from afterkernel.sweep.estimate import print_plan
    from afterkernel.sweep.grid import planned_run
    from afterkernel.sweep.run_one import run_one

    overrides = parse(parsed.overrides)
    check_once(overrides)
    if shows and (several := [_word(each) for each in overrides if each.is_sweep_override()]):
        raise UserError(f"{several[0]} names several values, and --cfg and --info show one run: give one of them.")
    # What is the same in every run of a grid.
    held = compose([_word(each) for each in overrides if not each.is_sweep_override()], with_hydra=True)
    if shows:
        _show(parsed)
        return 0
    swept = [f"{name}={values}" for name, values in (held.hydra.sweeper.params or {}).items()]
    if parsed.multirun or swept or held.hydra.mode == RunMode.MULTIRUN:
        return _run_grid(swept, parsed.overrides, held)
    if several := [_word(each) for each in overrides if each.is_sweep_override()]:
        raise UserError(f"{several[0]} names several values: add --multirun to sweep over them.")
    config = to_config(held)
    if not config.sweep.dry_run:
        return run_one(config)
    print_plan([planned_run(config)])
    return 0


def _run_grid(swept: Sequence[str], given: Sequence[str], held: DictConfig) -> int:
    """Compose and check every run that a sweep file's and the given overrides span, then run what is not finished."""
    from afterkernel.config import compose
    from afterkernel.runs.worker import failure_message
    from afterkernel.sweep.composer import Composer
    from afterkernel.sweep.estimate import print_plan
    from afterkernel.sweep.grid import compose_grid, grids_of
    from afterkernel.sweep.run_sweep import run_sweep

    try:
        planned_runs = compose_grid(Composer(compose), *grids_of(swept, given, held))
        first = planned_runs[0].config
        if not first.sweep.dry_run:
            return run_sweep(planned_runs, first.launcher, first.sweep.on_error)
        print_plan(planned_runs)
    except OSError as error:
        print(f"afterkernel: {failure_message(error)}", file=sys.stderr)
        return ExitCode.FAILED
    return ExitCode.DONE


def _show(parsed: argparse.Namespace) -> None:
    """Print what Hydra composes, as its own --cfg and --info do; hydra.main would take sys.argv, all flags included."""
    import hydra.version
    from hydra._internal.utils import _run_hydra

    from afterkernel.config import CONF

    hydra.version.setbase("1.3")
    left_out = ("package", "config_name", "config_path", "config_dir", "experimental_rerun")
    no = dict.fromkeys(("run", "help", "hydra_help", "shell_completion"), False) | dict.fromkeys(left_out)
    _run_hydra(
        args=argparse.Namespace(**vars(parsed), **no),
        args_parser=parser(),
        task_function=lambda _: None,
        config_path=str(CONF),
        config_name="config",
    )


def _word(override: Override) -> str:
    return override.input_line or ""
