"""A Lightning callback that records kernels during any training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from torch import nn

from afterkernel.errors import UserError
from afterkernel.runs.recording import Recording

_SINGLE = "SingleDeviceStrategy"


class KernelSnapshot(pl.Callback):
    """Records the kernels of a LightningModule at the steps, epochs and losses of a `Recorder`, and at the end.

    For the Trainer of pytorch_lightning or of lightning, and any module: `network` picks the one whose kernels are
    computed, by default the LightningModule itself, whose forward is called. `monitor` names the logged training loss
    that is compared with the recorder's `losses` at the end of each epoch. The training is not changed. Steps are
    `trainer.global_step`, and epochs count its batches. Nothing is recorded with fast_dev_run. Raises UserError for
    trainings of several processes, and as `Recorder.record` does.
    """

    def __init__(
        self,
        recorder: Any,
        *,
        monitor: str | None = None,
        end: bool = True,
        network: Callable[[Any], nn.Module] | None = None,
    ) -> None:
        self._recording = Recording(recorder, monitor, end, network)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Record the initialisation, if it is due."""
        if trainer.world_size > 1 or not any(one.__name__ == _SINGLE for one in type(trainer.strategy).__mro__):
            raise UserError(
                f"{type(trainer.strategy).__name__} may divide the training between processes, and KernelSnapshot "
                'works in one: give the Trainer devices=1 and strategy="auto".'
            )
        self._check(trainer, pl_module, float(trainer.current_epoch))

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: object, batch: object, batch_idx: int, *_: object
    ) -> None:
        """Record after a step or a fraction of an epoch, if it is due."""
        self._check(trainer, pl_module, _epoch(trainer, batch_idx + 1))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Record after an epoch, if its loss is due."""
        loss = None if trainer.fast_dev_run else self._recording.loss(trainer.callback_metrics)
        self._check(trainer, pl_module, float(trainer.current_epoch + 1), loss)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Record the end of training."""
        if not trainer.fast_dev_run:
            self._recording.finish(pl_module, trainer.global_step, self._epoch_now)

    def _check(self, trainer: Any, pl_module: Any, epoch: float | None, loss: float | None = None) -> None:
        self._epoch_now = epoch
        self._recording.check(pl_module, trainer.global_step, epoch, loss, write=not trainer.fast_dev_run)


def _epoch(trainer: Any, batches: int) -> float | None:
    """Epochs so far, with a fraction; None where the number of batches is not known."""
    count = trainer.num_training_batches
    return trainer.current_epoch + batches / count if math.isfinite(count) else None
