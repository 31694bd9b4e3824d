"""A sweep as the file that `wandb sweep` takes, whose agents run the same runs as Hydra's grid does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from afterkernel.config import compose, parse
from afterkernel.config.catalogue import every_option
from afterkernel.config.overrides import check_once
from afterkernel.errors import UserError
from afterkernel.sweep.composer import Composer
from afterkernel.sweep.grid import compose_grid, grids_of

_MODE, _ALSO = "logger.wandb.mode", "sweep.also"


def wandb_sweep(
    name: str, words: Sequence[str], config_dir: Path | None = None, number: int | None = None
) -> dict[str, Any]:
    """The content of the file: a grid of the swept options, and the command of one run.

    W&B's agent writes each parameter as NAME=VALUE, as Hydra reads it. So numbers and truth values are themselves, and
    the rest (lists, null, quoted text) is the text that Hydra reads. `config_dir` is the value of --config-dir;
    `number`, from 1, chooses among several grids. Raises UserError for an invalid sweep, and for a private option
    in it, such as a local path, which W&B would get.
    """
    overrides = parse([f"+sweep={name}", *words])
    check_once(overrides)
    held = compose([_word(each) for each in overrides if not each.is_sweep_override()], with_hydra=True)
    swept = [f"{option}={values}" for option, values in (held.hydra.sweeper.params or {}).items()]
    grids = grids_of(swept, list(map(_word, overrides)), held)
    grid = grids[_index(name, number, len(grids))]
    _check_private((word for run in grid for word in run), config_dir)
    config = compose_grid(Composer(compose), grid)[0].config
    # Each command is one run: of the grids of sweep.also it would run one each.
    alone = {_ALSO: f"{_ALSO}=[]"} if len(grids) > 1 else {}
    fixed = {each.key_or_group: _word(each) for each in overrides if not each.is_sweep_override()} | alone
    values: dict[str, list[str]] = {}
    for run in grid:
        for word in run:
            option, _, value = word.lstrip("+").partition("=")
            if option not in fixed and value not in values.setdefault(option, []):
                values[option].append(value)
    if not values:
        raise UserError(f"sweeps/{name}.yaml sweeps over no option: give one several values, such as seed=0,1.")
    online = [] if _MODE in fixed else [f"{_MODE}=online"]  # else W&B would have the run of its agent, without data
    program = ["${env}", "python", "-m", "afterkernel", *([] if config_dir is None else [f"--config-dir={config_dir}"])]
    of_project = {"project": config.logger.wandb.project, "entity": config.logger.wandb.entity}
    return {
        "name": config.sweep.name,
        **{key: value for key, value in of_project.items() if value is not None},
        "program": "afterkernel",
        "method": "grid",
        "parameters": {
            option: {"values": [_native(option, text) for text in found]} for option, found in values.items()
        },
        "command": [*program, *fixed.values(), *online, "${args_no_hyphens}"],
    }


def _index(name: str, number: int | None, count: int) -> int:
    if number is None and count > 1:
        numbers = " or ".join(f"--grid {each}" for each in range(1, count + 1))
        raise UserError(f"sweeps/{name}.yaml has {count} grids, and W&B takes one per file: add {numbers}.")
    wanted = 1 if number is None else number
    if not 1 <= wanted <= count:
        grids = f"the grids 1 to {count}" if count > 1 else "one grid, which is 1"
        raise UserError(f"--grid {wanted}: sweeps/{name}.yaml has {grids}.")
    return wanted - 1


def _native(option: str, text: str) -> Any:
    """The value of an option as W&B keeps it: a number or a truth value, or else the text."""
    value = parse([f"{option}={text}"])[0].value()
    if isinstance(value, (int, float)) and math.isfinite(value) and abs(value) < 2**53:  # as JSON holds it
        return value
    return text


def _check_private(words: Iterable[str], config_dir: Path | None) -> None:
    private = {name for name, fields in every_option().items() if any(field.metadata["redact"] for field in fields)}
    for word in words:
        name = word.partition("=")[0].lstrip("+")
        if name in private and "${" not in word.replace("\\", ""):  # Hydra escapes the words of a grid
            raise UserError(
                f"{name} is private, and the file is sent to W&B: write {name}=${{oc.env:VARIABLE}} in single "
                "quotes, and set that variable where the agents run."
            )
    if config_dir is not None and config_dir.is_absolute():
        raise UserError(
            f"--config-dir={config_dir} is a local path, and the file is sent to W&B: give it relative to the folder "
            "in which the agents run."
        )


def _word(override: Override) -> str:
    return override.input_line or ""
