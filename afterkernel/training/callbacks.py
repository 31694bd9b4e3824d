"""Lightning callbacks: checkpoints, the random state, cancelling, progress, the training curve."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import CheckpointIO

from afterkernel.progress.work import Stage
from afterkernel.records.training_curve import TrainingPoint
from afterkernel.training.checkpoint import read_checkpoint, write_checkpoint
from afterkernel.training.module import Classifier


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


class CheckCancelled(pl.Callback):
    """Calls a function after every step, which raises to end training if another process has taken over the run."""

    def __init__(self, check_cancelled: Callable[[], None]) -> None:
        self.check_cancelled = check_cancelled

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, *_: object
    ) -> None:
        """Call the function."""
        self.check_cancelled()


class ReportEpoch(pl.Callback):
    """Reports epoch, loss and pace to a stage of progress, whose total is the number of epochs of so many images."""

    def __init__(self, stage: Stage, images: int) -> None:
        self.stage, self.images, self.of = stage, images, "of at most" if stage.at_most else "of"
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
        done = epoch + batches / trainer.num_training_batches
        pace = self.images * (done - self.stage.done_before) / max(time.monotonic() - self.stage.began, 1e-9)
        loss = f"loss {self._losses / batches:.3g}"
        self.stage.update(done, f"epoch {epoch + 1} {self.of} {trainer.max_epochs}, {loss}, {pace:,.0f} images/s")


class CurvePoints(pl.Callback):
    """Reports points of the training curve: every `every` steps, at the end of each epoch and of training.

    A point has the mean loss of the batches since the last one. It depends only on its step, as checkpoints are written
    at the ends of epochs: a training that continues makes the same points.
    """

    def __init__(self, every: int, report: Callable[[TrainingPoint], None]) -> None:
        self.every, self.report = every, report
        self._since: list[float] = []
        self._epoch: list[float] = []
        self._lr = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the means again."""
        self._since, self._epoch = [], []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Remember the learning rate of this step, which the schedule changes after it."""
        self._lr = cast(Classifier, pl_module).current_lr

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: object) -> None:
        """Report a point if one is due."""
        module, step, loss = cast(Classifier, pl_module), trainer.global_step, float(outputs["cross_entropy"])
        self._since.append(loss)
        self._epoch.append(loss)
        ends_epoch = step % module.steps_an_epoch == 0
        if not (ends_epoch or step % self.every == 0 or trainer.should_stop):
            return
        point = TrainingPoint(
            step=step,
            epoch=step / module.steps_an_epoch,
            batch_loss=sum(self._since) / len(self._since),
            lr=self._lr,
            progress=step / module.most_steps,
            epoch_loss=sum(self._epoch) / len(self._epoch) if ends_epoch else None,
        )
        self._since = []
        self.report(point)
