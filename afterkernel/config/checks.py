"""Checks of a configuration that need more than types: made before any long work starts."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch

from afterkernel import plugins
from afterkernel.config.schema import KINDS, Config
from afterkernel.errors import UserError
from afterkernel.kernel_kinds import KINDS as KERNEL_KINDS
from afterkernel.kernels.plan import check_budget
from afterkernel.models.architecture import ImageShape
from afterkernel.options import check_bounds
from afterkernel.records.files import check_folders, is_name
from afterkernel.training.options import ROTATION_SHIFT

# Linux takes paths of 4096 bytes; below a run's folder W&B's own files have the longest names.
_LONGEST_PATH = 4096
_ROOM_BELOW = 256
# The id of a W&B run, SWEEP-RUN_ID, has at most 128 characters.
_LONGEST_NAME = 64
# What a run's configuration, log and lock take before its first result.
_LEAST_ROOM = 2**16


def check(config: Config) -> None:
    """Raise UserError for the first option that can't work: a bound, a pair, missing data, a width, a device."""
    check_bounds(config)
    for group, kinds in KINDS.items():
        section = getattr(config, group)
        if kinds.get(section.name) is not type(section):
            raise UserError(f"{group}.name={section.name} can't be set directly: use {group}=NAME.")
    if not config.kernel.names:
        raise UserError(f"kernel.names=[] is empty: give at least one of {', '.join(KERNEL_KINDS)}.")
    if not is_name(config.sweep.name):
        raise UserError(f"sweep.name={config.sweep.name!r} is not a valid folder name: use letters, digits, - and _.")
    if len(config.sweep.name) > _LONGEST_NAME:
        raise UserError(f"sweep.name={config.sweep.name[:20]}... is too long: give at most {_LONGEST_NAME} characters.")
    _check_snapshots(config)
    _check_output(config)
    device(config)
    config.logger.check()
    for group in ("svm", "launcher", "measure", "dataset", "training"):
        with _naming_plugin():
            getattr(config, group).check()
    if config.dataset.classes:
        config.measure.check_classes()
    with _naming_plugin():
        _check_images(config)


@contextlib.contextmanager
def _naming_plugin() -> Iterator[None]:
    """Turn an error that passes through the code of a plugin into a UserError that names the line there."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
            if (plugin := plugins.plugin_of(str(frame.f_globals.get("__name__")))) is not None:
                raise UserError(
                    f"plugins=[{plugin}] failed while the options were checked: {type(error).__name__}: {error} "
                    f"({frame.f_code.co_filename}, line {line})"
                ) from error
        raise


def _check_images(config: Config) -> None:
    """What images of this size allow: transforms, a network, and an embedding budget for the two rows of any tile."""
    shape = config.dataset.image_shape()
    config.measure.check_images(*shape[1:])
    side = min(shape[1:])
    if config.training.augment == ROTATION_SHIFT and config.training.augment_shift_px >= side:
        raise UserError(
            f"training.augment_shift_px={config.training.augment_shift_px:g} moves {shape[1]}x{shape[2]} images "
            f"entirely out of the frame: give less than {side}."
        )
    config.kernel.check_output(config.dataset.n_outputs)
    size = _check_network(config, shape)
    check_budget(config.kernel.budget_bytes, size, config.kernel.precision.held.itemsize)


# Parameters of the networks that were checked: a grid has many runs of one network.
_sizes: dict[tuple[object, ...], int] = {}


def _check_network(config: Config, shape: ImageShape) -> int:
    """The number of parameters of the network, for which all kernels exist."""
    outputs, centered = config.dataset.n_outputs, config.training.centered_output
    key = (type(config.arch), repr(config.arch), shape, outputs, centered, *config.kernel.names)
    if key not in _sizes:
        with torch.device("meta"):
            network = config.arch.build(shape, outputs)
        config.training.check_network(network)
        for name in config.kernel.names:
            KERNEL_KINDS[name].check(network)
        _sizes[key] = network.parameter_count
    return _sizes[key]


def device(config: Config) -> torch.device:
    """The device that trainer.device selects. Raises UserError if this machine has none."""
    present = torch.cuda.is_available()
    if config.trainer.device == "cuda" and not present:
        raise UserError("trainer.device=cuda: torch finds no CUDA device here; use trainer.device=cpu.")
    return torch.device("cuda" if config.trainer.device != "cpu" and present else "cpu")


def _check_snapshots(config: Config) -> None:
    """Raise UserError if all snapshots are after the end of training; some are, by default, if training is short."""
    epochs, last = config.snapshot.epochs, config.training.epochs
    if epochs and min(epochs) > last:
        raise UserError(
            f"snapshot.epochs=[{','.join(map(str, epochs))}] are all after training.epochs={last}: give an epoch up "
            "to that, or [] for only the end of training."
        )


def _check_output(config: Config) -> None:
    if not config.output_dir.strip():
        raise UserError("output_dir is empty: name the folder that results go to, such as runs.")
    setting = f"output_dir={config.output_dir}"
    try:
        root = Path(config.output_dir).expanduser().absolute()
    except RuntimeError as error:
        raise UserError(f"{setting}: there is no such user here; write the folder's path in full.") from error
    path = root / config.sweep.name / config.identity.run_id
    if not _is_utf8(path):
        raise UserError(f"{str(path)!a} is not valid UTF-8: use UTF-8, or set LC_ALL=C.UTF-8 where the locale is C.")
    if len(os.fsencode(path)) + _ROOM_BELOW > _LONGEST_PATH:
        raise UserError(
            f"{setting[:80]}... is too long: the path of a run must have less than {_max_path_bytes()} bytes."
        )
    nearest = _nearest_folder(setting, path)
    check_folders(path)
    try:
        # By trying: permissions do not show read-only and virtual file systems.
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(bytes(_LEAST_ROOM))
            file.flush()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"{setting}: the disk of {nearest} is full: make space, or name another folder.") from error
        raise UserError(f"{setting}: {nearest} is not a folder that can be written to; name another.") from error


def _nearest_folder(setting: str, path: Path) -> Path:
    """The last folder on the way to a path that is there. UserError where something else is in the way."""
    nearest = Path(path.anchor)
    for place in (*reversed(path.parents), path):
        try:
            found = place.stat()
        except FileNotFoundError as error:
            if place.is_symlink():
                raise UserError(f"{setting}: {place} is a broken link; remove it, or name another folder.") from error
            return nearest
        except OSError as error:
            reason = error.strerror or type(error).__name__
            shown = str(place) if len(str(place)) < 100 else f"{str(place)[:100]}..."
            short = setting if len(setting) < 100 else f"{setting[:80]}..."
            raise UserError(f"{short}: {shown} can't be used ({reason}); name another folder.") from error
        if not stat.S_ISDIR(found.st_mode):
            raise UserError(f"{setting}: {place} is not a folder that can be written to; name another.")
        nearest = place
    return nearest


def _is_utf8(path: Path) -> bool:
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in str(path))


def _max_path_bytes() -> int:
    return _LONGEST_PATH - _ROOM_BELOW
