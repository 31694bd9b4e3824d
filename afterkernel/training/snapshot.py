"""Snapshots on disk: a state dict (step=45.pt), and its metadata (step=45.json): step, epoch, losses, hash.

Earlier versions named the files by their whole epoch (epoch=0005.pt); these are read too. Loading can not run code:
weights are loaded with `weights_only=True`, and the rest is JSON.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.files.json_data import decode, encode
from afterkernel.files.reading import read_bytes, read_text
from afterkernel.records.files import write_atomic

TrainingEnd = Literal["epochs", "steps", "loss_target", "diverged"]
DIRECTORY = "snapshots"
SUMMARY = "training.json"


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """One saved state. `train_loss` in nats on the whole training set; errors are shares in [0, 1], and
    `net_test_wrong` are the network's answers to the test images (`afterkernel.records.answers`).

    `epoch` has a fraction within an epoch. `wall_s_train` is the time of training up to here in seconds, parts before a
    break included. `run` is the identity of the training (`afterkernel.training.identity`).
    """

    epoch: float
    step: int
    train_loss: float
    net_train_error: float
    net_test_error: float
    net_test_wrong: str = ""
    wall_s_train: float = 0.0
    sha256: str = ""
    run: str = ""


@dataclasses.dataclass(frozen=True)
class Ending:
    """By what training ended, the steps of its snapshots, the losses that were not reached, and seconds of training."""

    by: TrainingEnd
    steps: list[int]
    missed_losses: list[float]
    wall_s: float


@dataclasses.dataclass(frozen=True)
class TrainingSummary:
    """How training ended: the epochs and steps up to its final snapshot, by what, and on which data.

    `loss_target_reached` is None without a target. `snapshots` are the steps of all snapshots. In a summary of an
    earlier version that and `steps` are None. `run` is the identity of the training.
    """

    epochs: float
    stopped_by: TrainingEnd
    loss_target_reached: bool | None
    data_sha256: str
    wall_s: float
    run: str = ""
    steps: int | None = None
    snapshots: list[int] | None = None

    def is_final(self, snapshot: Snapshot) -> bool:
        """Whether training ended with this snapshot."""
        return snapshot.epoch == self.epochs if self.steps is None else snapshot.step == self.steps


def save(run_dir: Path, snapshot: Snapshot, network: nn.Module) -> None:
    """Write the weights, then the metadata, which make them valid, each atomically.

    Files of the same training with the same weights stay as they are.
    """
    buffer = io.BytesIO()
    torch.save({name: value.detach().cpu() for name, value in network.state_dict().items()}, buffer)
    weights = buffer.getvalue()
    stem = metadata_path(run_dir, snapshot.step)
    facts = dataclasses.replace(snapshot, sha256=hashlib.sha256(weights).hexdigest())
    if not _is_saved(stem, facts):
        _write(stem.with_suffix(".pt"), weights)
        _write(stem.with_suffix(".json"), encode(facts).encode())


def _is_saved(stem: Path, facts: Snapshot) -> bool:
    try:
        found = read(stem.with_suffix(".json"))
        weights = stem.with_suffix(".pt").read_bytes()
    except (OSError, UserError):
        return False
    return (found.run, found.sha256) == (facts.run, facts.sha256) == (facts.run, hashlib.sha256(weights).hexdigest())


def load(run_dir: Path, network: nn.Module, path: Path) -> Snapshot:
    """Load a snapshot's weights into the network, after checking their hash.

    Raises UserError if the file is damaged, was altered, or belongs to another network.
    """
    snapshot = read(path)
    weights_path = path.with_suffix(".pt")
    try:
        weights = read_bytes(weights_path)
    except OSError as error:
        raise UserError(f"{weights_path} can't be read ({error.strerror}): train the run again.") from error
    if hashlib.sha256(weights).hexdigest() != snapshot.sha256:
        raise UserError(
            f"{weights_path} is truncated or was altered, as its hash is not the one in {path.name}: restore it, or "
            "train the run again with force=true."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.load(io.BytesIO(weights), weights_only=True)
    # torch raises errors of many types for files that are not its own or would run code.
    except Exception as error:
        raise UserError(
            f"{weights_path} contains something other than plain weights, so it is not loaded: train the run again."
        ) from error
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise UserError(
            f"{weights_path} contains a different network from the one in {run_dir / 'config.yaml'}: restore it, or "
            "train the run again with force=true."
        ) from error
    return snapshot


def read(path: Path) -> Snapshot:
    """The metadata of one snapshot (its .json file). Raises UserError if they are damaged."""
    try:
        found = decode(Snapshot, read_text(path))
        kind, number = _name(path)
        if (found.step if kind == "step" else found.epoch) != number:
            raise ValueError(f"it is of {kind} {found.step if kind == 'step' else found.epoch:g}")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a snapshot of this version ({error}): train the run again.") from error
    return found


def metadata_path(run_dir: Path, step: int) -> Path:
    """The file of the metadata of one snapshot, as it is written."""
    return run_dir / DIRECTORY / f"step={step}.json"


def paths(run_dir: Path) -> list[Path]:
    """The .json files of a run's snapshots, by step."""
    return list(paths_by_step(run_dir).values())


def paths_by_step(run_dir: Path) -> dict[int, Path]:
    """The same with their steps; a damaged one of an earlier version comes first, with a negative number."""
    found = sorted((run_dir / DIRECTORY).glob("*=*.json"))
    of_epochs = [path for path in found if _name(path)[0] == "epoch"]
    steps = {_step_of_epoch(path): path for path in of_epochs}
    steps |= {_name(path)[1]: path for path in found if _name(path)[0] == "step"}
    return dict(sorted(steps.items()))


def keep_only(run_dir: Path, steps: Iterable[int]) -> None:
    """Delete the snapshots of all other steps, and files of an earlier version that were written again."""
    kept = {path for step, path in paths_by_step(run_dir).items() if step in set(steps)}
    for path in (run_dir / DIRECTORY).glob("*=*.json"):
        if path not in kept:
            path.unlink()
            path.with_suffix(".pt").unlink(missing_ok=True)


def _name(path: Path) -> tuple[str, int]:
    """What the name of a file counts, "step" or "epoch", and the number; ("", 0) for other files."""
    kind, _, number = path.stem.partition("=")
    return (kind, int(number)) if kind in ("step", "epoch") and number.isdecimal() else ("", 0)


def _step_of_epoch(path: Path) -> int:
    try:
        return decode(Snapshot, read_text(path)).step
    except (OSError, ValueError):
        return -1 - _name(path)[1]  # `read` says what is wrong with it


def write_summary(run_dir: Path, summary: TrainingSummary) -> None:
    """Write how training ended; training counts as finished while this file exists."""
    _write(run_dir / SUMMARY, encode(summary).encode())


def remove_summary(run_dir: Path) -> None:
    """Delete the summary, so that training counts as not finished."""
    (run_dir / SUMMARY).unlink(missing_ok=True)


def read_summary(run_dir: Path) -> TrainingSummary | None:
    """How training ended; None if it has not ended."""
    path = run_dir / SUMMARY
    if not path.exists():
        return None
    try:
        return decode(TrainingSummary, read_text(path))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is not a summary of this version ({error}): delete it and train the run again."
        ) from error


def _write(path: Path, data: bytes) -> None:
    try:
        write_atomic(path, data)
    except OSError as error:
        raise UserError(
            f"{path} can't be written ({error.strerror}): make room for it, and run the same command again."
        ) from error
