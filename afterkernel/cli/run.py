"""[OVERRIDES] [--multirun]: train, snapshot, evaluate, record."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import hydra.version
from hydra._internal.utils import _run_hydra
from hydra.core.override_parser.types import Override
from hydra.types import RunMode

from afterkernel.cli import CommandParser, overview
from afterkernel.config import CONF, compose, to_config
from afterkernel.config.help import help_text
from afterkernel.config.overrides import check_once, parse
from afterkernel.errors import UserError
from afterkernel.imports import without_collections

# Flags of Hydra's own command line that have no place here, each with what to do instead.
_REFUSED = {
    "--config-name": "choose among the files of conf, or write a sweeps/NAME.yaml",
    "--config-path": "choose among the files of conf, or write a sweeps/NAME.yaml",
    "--config-dir": "choose among the files of conf, or write a sweeps/NAME.yaml",
    "--experimental-rerun": "it loads a pickle, which can run code; give the same options again",
    "--package": "--cfg job prints the whole configuration",
    "--run": "leave it out, a run is the default",
    "--hydra-help": "use --help",
    "--shell-completion": "there is no completion",
}
_MULTIRUN = ("--multirun", "-m")
_SHORT = {"-cn": "--config-name", "-cp": "--config-path", "-cd": "--config-dir"}
_SHORT |= {"-p": "--package", "-r": "--run", "-sc": "--shell-completion"}


def parser() -> CommandParser:
    """The command line without a command: flags, and overrides."""
    made = CommandParser("", "Train, snapshot, evaluate and record.", "arch=mlp training.lr=0.1")
    made.add_argument("overrides", nargs="*", metavar="OPTION=VALUE")
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
    if {"-h", "--help"} & set(argv):
        print(help_text(f"The command line: runs and sweeps, and the commands around them.\n\n{overview()}"))
        return 0
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
    overrides = parse(parsed.overrides)
    check_once(overrides)
    if shows and (several := [_word(each) for each in overrides if each.is_sweep_override()]):
        raise UserError(f"{several[0]} names several values, and --cfg and --info show one run: give one of them.")
    # What is the same in every run of a grid; the sweeper checks what the others make.
    held = compose([_word(each) for each in overrides if not each.is_sweep_override()], with_hydra=True)
    if not shows and not parsed.multirun:
        # A sweep file asks for a grid, but Hydra looks for values to sweep over before it reads the file.
        grid = held.hydra.mode == RunMode.MULTIRUN or bool(held.hydra.sweeper.params)
        # The plan of a single run is that of a grid of one.
        parsed.multirun = grid or to_config(compose(parsed.overrides)).sweep.dry_run
    # A worker finds the job by its module's name, so it must not be that of the program started.
    with without_collections():
        from afterkernel.sweep.task import task

    # As hydra.main does, which would take sys.argv, and --experimental-rerun with it.
    hydra.version.setbase("1.3")
    _run_hydra(
        args=argparse.Namespace(
            **vars(parsed),
            run=False,
            package=None,
            help=False,
            hydra_help=False,
            shell_completion=False,
            config_name=None,
            config_path=None,
            config_dir=None,
            experimental_rerun=None,
        ),
        args_parser=parser(),
        task_function=task,
        config_path=str(CONF),
        config_name="config",
    )
    return 0


def _word(override: Override) -> str:
    return override.input_line or ""
