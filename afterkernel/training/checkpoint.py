"""The checkpoint that a training in progress goes on from: weights, optimizer, random state, epoch, time so far.

One file, RUN_ID/training.ckpt, replaced whole at the end of an epoch: a line of JSON (version, SHA-256 of what follows,
which training it is of), then what Lightning keeps, loaded with `weights_only=True`. It goes once training has ended.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import CheckpointIO

from afterkernel.errors import UserError
from afterkernel.input_files import read_bytes
from afterkernel.records.files import write_bytes_atomic

CHECKPOINT = "training.ckpt"
VERSION = 1


class CheckedFile(CheckpointIO):
    """How Lightning writes and reads the file: whole or not at all, checked, and nothing in it can run code.

    `identity` names the training, so that another network's or data set's checkpoint is refused.
    """

    def __init__(self, identity: str) -> None:
        self.identity = identity

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write the checkpoint atomically."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        body = buffer.getvalue()
        head = {"version": VERSION, "sha256": hashlib.sha256(body).hexdigest(), "identity": self.identity}
        write_bytes_atomic(path, json.dumps(head).encode() + b"\n" + body)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read the checkpoint. Raises UserError where it is damaged, of a later version, or of another training."""
        head, body = self._read(Path(path))
        if head.get("version") != VERSION:
            raise UserError(
                f"{path} is a checkpoint of version {head.get('version')} and this afterkernel reads {VERSION}: take a "
                "later one, or delete the file so that the run trains from its start."
            )
        if hashlib.sha256(body).hexdigest() != head.get("sha256"):
            raise UserError(_damaged(path))
        if head.get("identity") != self.identity:
            raise UserError(
                f"{path} is the checkpoint of another training (other network, options or data): delete it, and the "
                "run trains from its start."
            )
        try:
            loaded = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        except Exception as error:  # torch tells what is no plain data by an error of its own kind
            raise UserError(_damaged(path)) from error
        if not isinstance(loaded, dict):
            raise UserError(_damaged(path))
        return loaded

    def remove_checkpoint(self, path: Any) -> None:
        """Delete the file."""
        Path(path).unlink(missing_ok=True)

    @staticmethod
    def _read(path: Path) -> tuple[dict[str, Any], bytes]:
        try:
            first, _, body = read_bytes(path).partition(b"\n")
        except OSError as error:
            raise UserError(f"{path} can't be read: {error.strerror}.") from error
        try:
            head = json.loads(first)
        except ValueError as error:
            raise UserError(_damaged(path)) from error
        if not isinstance(head, dict):
            raise UserError(_damaged(path))
        return head, body


def checkpoint_identity(path: Path) -> str | None:
    """Which training a checkpoint is of, by its first line; None where it is missing or damaged."""
    try:
        with path.open("rb") as file:
            head = json.loads(file.readline())
        return str(head["identity"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _damaged(path: Path | str) -> str:
    return f"{path} is truncated or was altered: delete it, and the run trains from its start."


class KeepCheckpoint(pl.Callback):
    """Writes the checkpoint at the end of the first epoch that ends `every_s` seconds or more after the last one.

    `look` is called before, and may raise.
    """

    def __init__(self, path: Path, every_s: float, look: Callable[[], None]) -> None:
        self.path, self.every_s, self.look = path, every_s, look
        self._last = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write, unless training ends here: then its last snapshot says all."""
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if not ends and time.monotonic() - self._last >= self.every_s:
            self.look()
            trainer.save_checkpoint(self.path)
            self._last = time.monotonic()


class KeepRandomState(pl.Callback):
    """Carries torch's random state over a break, for networks that draw numbers as they train."""

    def state_dict(self) -> dict[str, Any]:
        """The states of the CPU and of every GPU."""
        return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the states up again when training starts, behind all that draws numbers before."""
        self._restored = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set what was restored, if anything was."""
        restored = self.__dict__.pop("_restored", None)
        if restored is not None:
            torch.set_rng_state(restored["cpu"])
            if len(restored["cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(restored["cuda"])


class Clock(pl.Callback):
    """Seconds of training, those before a break included."""

    def __init__(self) -> None:
        self._before = 0.0
        self._started = time.monotonic()

    @property
    def wall_s(self) -> float:
        """Seconds so far."""
        return self._before + time.monotonic() - self._started

    def state_dict(self) -> dict[str, Any]:
        """Seconds so far."""
        return {"wall_s": self.wall_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._before = float(state_dict["wall_s"])
