"""Snapshots on disk: a state dict (epoch=0005.pt), and its metadata (epoch=0005.json): epoch, losses, hash.

Loading can not run code: weights are loaded with `weights_only=True`, and the rest is JSON.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import warnings
from pathlib import Path

import torch
from torch import nn

from afterkernel.errors import UserError
from afterkernel.files.json_data import decode, encode
from afterkernel.files.reading import read_bytes, read_text
from afterkernel.records.files import write_atomic

DIRECTORY = "snapshots"
SUMMARY = "training.json"


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """One saved state. `train_loss` in nats on the whole training set; errors are shares in [0, 1], and
    `net_test_wrong` are the network's answers to the test images (`afterkernel.records.answers`).

    `wall_s_train` is the time of training up to here in seconds, parts before a break included. `run` is the identity
    of the training (`afterkernel.training.identity`).
    """

    epoch: int
    step: int
    train_loss: float
    net_train_error: float
    net_test_error: float
    net_test_wrong: str = ""
    wall_s_train: float = 0.0
    sha256: str = ""
    run: str = ""


@dataclasses.dataclass(frozen=True)
class TrainingSummary:
    """How training ended: after how many epochs, by "epochs" or "loss_target", whether that was
    reached, and on which data. `run` is the identity of the training.
    """

    epochs: int
    stopped_by: str
    loss_target_reached: bool | None
    data_sha256: str
    wall_s: float
    run: str = ""


def save(run_dir: Path, snapshot: Snapshot, network: nn.Module) -> None:
    """Write the weights, then the metadata, which make them valid, each atomically.

    Files of the same training with the same weights stay as they are.
    """
    buffer = io.BytesIO()
    torch.save({name: value.detach().cpu() for name, value in network.state_dict().items()}, buffer)
    weights = buffer.getvalue()
    stem = metadata_path(run_dir, snapshot.epoch)
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
        if found.epoch != _epoch(path):
            raise ValueError(f"it is of epoch {found.epoch}")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a snapshot of this version ({error}): train the run again.") from error
    return found


def metadata_path(run_dir: Path, epoch: int) -> Path:
    """The file of the metadata of one snapshot."""
    return run_dir / DIRECTORY / f"epoch={epoch:04d}.json"


def weights_path(run_dir: Path, epoch: int) -> Path:
    """The file of the weights of one snapshot."""
    return metadata_path(run_dir, epoch).with_suffix(".pt")


def paths(run_dir: Path) -> list[Path]:
    """The .json files of a run's snapshots, by epoch."""
    found = (run_dir / DIRECTORY).glob("epoch=*.json")
    return sorted((path for path in found if path.stem.split("=")[1].isdecimal()), key=_epoch)


def _epoch(path: Path) -> int:
    return int(path.stem.split("=")[1])


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
