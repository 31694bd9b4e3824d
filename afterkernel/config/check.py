"""Checks of a configuration that need more than types: made before any long work starts."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import torch

from afterkernel.config.schema import KINDS, Config
from afterkernel.errors import UserError
from afterkernel.kernels.plan import check_budget
from afterkernel.logger.account import knows_account
from afterkernel.options import check_bounds
from afterkernel.records.files import is_name


def check(config: Config) -> None:
    """Raise UserError for the first option that can't work: a bound, a pair, missing data, a width, a device."""
    check_bounds(config)
    for group, kinds in KINDS.items():
        section = getattr(config, group)
        if kinds.get(section.name) is not type(section):
            raise UserError(f"{group}.name={section.name} can't be set by hand: choose with {group}=NAME.")
    if not config.kernel.names:
        raise UserError("kernel.names=[] asks for no kernel: name ntk, conjugate, or both.")
    if not is_name(config.sweep.name):
        raise UserError(f"sweep.name={config.sweep.name!r} is no folder's name: use letters, digits, - and _.")
    _check_snapshots(config)
    _check_output(config)
    device(config)
    _check_wandb(config)
    config.svm.check()
    config.launcher.check()
    config.measure.check()
    config.dataset.check()
    _check_budget(config)


def _check_budget(config: Config) -> None:
    """The network must exist, and the embedding budget must hold the two rows that any tile needs."""
    with torch.device("meta"):
        size = config.arch.build(config.dataset.image_shape()).parameter_count
    check_budget(config.kernel.budget_bytes, size, config.kernel.precision.held.itemsize)


def device(config: Config) -> torch.device:
    """The device that trainer.device asks for. Raises UserError where it is absent."""
    present = torch.cuda.is_available()
    if config.trainer.device == "cuda" and not present:
        raise UserError("trainer.device=cuda: torch finds no CUDA device here; use trainer.device=cpu.")
    return torch.device("cuda" if config.trainer.device != "cpu" and present else "cpu")


def _check_snapshots(config: Config) -> None:
    """Some snapshots beyond the end are what the defaults give a short training; only such are a mistake."""
    epochs, last = config.snapshot.epochs, config.training.epochs
    if epochs and min(epochs) > last:
        raise UserError(
            f"snapshot.epochs=[{','.join(map(str, epochs))}] all lie beyond training.epochs={last}: name an epoch up "
            "to that, or [] for the end of training alone."
        )


def _check_output(config: Config) -> None:
    if not config.output_dir:
        raise UserError("output_dir is empty: name the folder that results go to, such as runs.")
    path = Path(config.output_dir).expanduser().absolute()
    nearest = next(folder for folder in (path, *path.parents) if folder.exists())
    try:
        # By trying: permissions say nothing of read-only and virtual file systems.
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError as error:
        raise UserError(
            f"output_dir={config.output_dir}: {nearest} is no folder that can be written to; name another."
        ) from error


def _check_wandb(config: Config) -> None:
    if config.logger.wandb.mode == "disabled":
        return
    if importlib.util.find_spec("wandb") is None:
        raise UserError("logger.wandb.mode: wandb is not installed; install it, or use logger.wandb.mode=disabled.")
    if config.logger.wandb.mode == "online" and not knows_account():
        raise UserError(
            "logger.wandb.mode=online: no W&B account is known here; run `wandb login`, set WANDB_API_KEY, "
            "or use logger.wandb.mode=offline."
        )
