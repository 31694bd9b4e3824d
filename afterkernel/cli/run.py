"""[OVERRIDES] [--multirun]: train, snapshot, evaluate, record."""

from __future__ import annotations

from collections.abc import Sequence

from afterkernel.cli import OVERRIDE, RUN_AND_SWEEP, CommandParser
from afterkernel.errors import UserError
from afterkernel.plugins import without_collections

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
    # Before the imports of what runs, which take seconds.
    from afterkernel.config.overrides import check_early

    check_early(parsed.overrides)
    with without_collections(freeze=True):
        from afterkernel.cli._start import start
    return start(parsed)
