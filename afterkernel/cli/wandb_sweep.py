"""wandb-sweep NAME [OVERRIDES]: a file for `wandb sweep`, for agents of W&B."""

from __future__ import annotations

from collections.abc import Sequence

from afterkernel.cli import OVERRIDE, RUN_AND_SWEEP, CommandParser
from afterkernel.errors import UserError

GROUP = RUN_AND_SWEEP


def main(argv: Sequence[str]) -> int:
    """`wandb-sweep NAME [OVERRIDES]`: print the runs of sweeps/NAME.yaml as a file for `wandb sweep`.

    Raises UserError for an invalid sweep, and for an option that would send a local path to W&B.
    """
    parser = CommandParser(
        "wandb-sweep",
        "Print the runs of sweeps/NAME.yaml as a file for `wandb sweep`: each run of a W&B agent is then one of them.",
        "wandb-sweep c1 seed=0,1 > c1.wandb.yaml",
    )
    parser.add_argument("name", metavar="NAME", help="the sweep of sweeps/NAME.yaml")
    parser.add_argument("overrides", nargs="*", default=[], metavar=OVERRIDE, help="options, also with several values")
    parser.add_argument(
        "--grid", type=int, metavar="N", help="which grid, from 1, of a sweep with several (sweep.also)"
    )
    parsed = parser.parse_overrides(list(argv))
    if "=" in parsed.name:
        raise UserError(f"wandb-sweep: {parsed.name} is not the name of a sweep: write wandb-sweep NAME OPTION=VALUE.")
    from afterkernel.config.overrides import check_early

    check_early([f"+sweep={parsed.name}"])  # before the imports that follow, which take seconds
    import yaml

    from afterkernel.sweep.wandb_sweep import wandb_sweep

    content = wandb_sweep(parsed.name, parsed.overrides, parser.config_dir, parsed.grid)
    print(yaml.safe_dump(content, sort_keys=False, width=120), end="")
    return 0
