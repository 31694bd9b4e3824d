"""Lightning callbacks: checkpoints and snapshots, the training-loss target, divergence, progress."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.plugins.io import CheckpointIO

from afterkernel.errors import UserError
from afterkernel.progress.work import Stage
from afterkernel.training import snapshot
from afterkernel.training.checkpoint import read_checkpoint, write_checkpoint
from afterkernel.training.module import Classifier
from afterkernel.training.snapshot_rule import SnapshotRule

log = logging.getLogger(__name__)


class CheckpointFile(CheckpointIO):
    """Makes Lightning write and read its checkpoint in the format of `afterkernel.training.checkpoint`."""

    def __init__(self, identity: str) -> None:
        self.identity = identity

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write the checkpoint atomically."""
        write_checkpoint(Path(path), checkpoint, self.identity)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read the checkpoint. Raises UserError if it is damaged, of a later version, or of another training."""
        return read_checkpoint(Path(path), self.identity)

    def remove_checkpoint(self, path: Any) -> None:
        """Delete the file."""
        Path(path).unlink(missing_ok=True)


class SaveCheckpoint(pl.Callback):
    """Writes the checkpoint at the end of the first epoch that ends `every_s` seconds or more after the last one.

    `check_cancelled` is called before, and may raise.
    """

    def __init__(self, path: Path, every_s: float, check_cancelled: Callable[[], None]) -> None:
        self.path, self.every_s, self.check_cancelled = path, every_s, check_cancelled
        self._last = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the checkpoint, unless training ends here and its last snapshot is all that is needed."""
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if not ends and time.monotonic() - self._last >= self.every_s:
            self.check_cancelled()
            trainer.save_checkpoint(self.path)
            self._last = time.monotonic()


class SaveRandomState(pl.Callback):
    """Saves torch's random state in the checkpoint, for networks that draw random numbers in training."""

    def state_dict(self) -> dict[str, Any]:
        """The states of the CPU and of every GPU."""
        return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states until training starts, since its preparation draws random numbers."""
        self._restored = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the restored states, if there are any."""
        restored = self.__dict__.pop("_restored", None)
        if restored is not None:
            torch.set_rng_state(restored["cpu"])
            if len(restored["cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(restored["cuda"])


class SaveSnapshots(pl.Callback):
    """Saves the network at initialisation, after the chosen epochs, and at the end of training.

    `check_cancelled` is called before each, and may raise; `identity` is that of the training.
    """

    def __init__(
        self, run_dir: Path, rule: SnapshotRule, timer: Timer, identity: str, check_cancelled: Callable[[], None]
    ) -> None:
        self.run_dir, self.rule, self.timer = run_dir, rule, timer
        self.identity, self.check_cancelled = identity, check_cancelled

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save epoch 0, the initialised network, unless training resumes."""
        if trainer.global_step == 0 and self.rule.due(epoch=0):
            self._save(cast(Classifier, pl_module))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after a chosen epoch."""
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if self.rule.due(epoch=trainer.current_epoch + 1) or ends:
            self._save(cast(Classifier, pl_module))

    def _save(self, module: Classifier) -> None:
        measured = module.measure()
        facts = replace(measured, wall_s_train=self.timer.time_elapsed(), run=self.identity)
        self.check_cancelled()
        snapshot.save(self.run_dir, facts, module.network)
        log.info(
            "epoch %d: training loss %.4g, training error %.2f %%, test error %.2f %%; snapshot saved",
            measured.epoch,
            measured.train_loss,
            100 * measured.net_train_error,
            100 * measured.net_test_error,
        )


class CheckCancelled(pl.Callback):
    """Calls a function after every step, which raises to end training if another process has taken over the run."""

    def __init__(self, check_cancelled: Callable[[], None]) -> None:
        self.check_cancelled = check_cancelled

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, *_: object
    ) -> None:
        """Call the function."""
        self.check_cancelled()


class StopAtLoss(pl.Callback):
    """Stops at the end of the first epoch whose loss on the whole training set is at most the target (in nats)."""

    def __init__(self, target: float) -> None:
        self.target = target
        self.reached = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate the whole training set in evaluation mode, and stop if the target is reached."""
        if cast(Classifier, pl_module).measure().train_loss <= self.target:
            self.reached = True
            trainer.should_stop = True


class StopAtDivergence(pl.Callback):
    """Ends training with a clear error as soon as a batch loss is not finite."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, *_: object
    ) -> None:
        """Check the loss of the batch."""
        loss = float(outputs["cross_entropy"]) if isinstance(outputs, dict) else math.nan
        if not math.isfinite(loss):
            lr = cast(Classifier, pl_module).options.lr
            raise UserError(
                f"training diverged in epoch {trainer.current_epoch + 1} (the loss is {loss}): training.lr={lr:g} is "
                "too large for this network and data; use a smaller one."
            )


class ReportEpoch(pl.Callback):
    """Reports epoch and loss to a stage of progress, whose total is the number of epochs."""

    def __init__(self, stage: Stage, *, at_most: bool) -> None:
        self.stage, self.of = stage, "of at most" if at_most else "of"
        self._losses = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start at the present epoch, which is not 0 if training resumes."""
        self.stage.start_at(trainer.current_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reset the sum of losses."""
        self._losses = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: object, batch_idx: int
    ) -> None:
        """Report the epoch and the mean loss (nats) of its batches so far."""
        self._losses += float(outputs["cross_entropy"])
        epoch, batches = trainer.current_epoch, batch_idx + 1
        self.stage.update(
            epoch + batches / trainer.num_training_batches,
            f"epoch {epoch + 1} {self.of} {trainer.max_epochs}, loss {self._losses / batches:.3g}",
        )
