"""Training by Lightning, for at least one epoch."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Timer

from afterkernel.data.batches import Batches
from afterkernel.data.problem import Problem
from afterkernel.models import Network
from afterkernel.progress.work import Stage
from afterkernel.records.files import CHECKPOINT
from afterkernel.training.callbacks import (
    CheckCancelled,
    CheckpointFile,
    CurvePoints,
    ReportEpoch,
    SaveCheckpoint,
    SaveRandomState,
)
from afterkernel.training.execution import Execution
from afterkernel.training.loss_checks import copied_state
from afterkernel.training.module import Classifier
from afterkernel.training.options import NO_AUGMENTATION, ROTATION_SHIFT, Snapshots, Training
from afterkernel.training.save_snapshots import SaveSnapshots
from afterkernel.training.snapshot import Ending
from afterkernel.transforms import augment
from afterkernel.types import Tensor

log = logging.getLogger(__name__)


def fit(
    network: Network,
    problem: Problem,
    training: Training,
    snapshots: Snapshots,
    run_dir: Path,
    execution: Execution,
) -> Ending:
    """Train for at least one epoch, as described in `afterkernel.training.train.train`."""
    timer, path = Timer(verbose=False), run_dir / CHECKPOINT
    initial = copied_state(network)
    module = Classifier(network, problem, training)
    saved = SaveSnapshots(run_dir, snapshots, execution, timer, initial)
    callbacks = [
        CheckCancelled(execution.check_cancelled),
        timer,
        SaveRandomState(),
        saved,  # decides whether training ends, so it comes before the checkpoint
        CurvePoints(execution.curve_every, execution.on_point),
        SaveCheckpoint(path, execution.checkpoint_every_s, execution.check_cancelled),
    ]
    at_most = training.loss_target is not None
    with Stage("training", module.most_steps / module.steps_an_epoch, at_most=at_most) as progress:
        callbacks.append(ReportEpoch(progress, len(problem.x_train)))
        batches = _batches(problem, training, execution.seed)
        _fit(module, batches, callbacks, execution.device, path, execution.identity)
    return saved.ending()


def _batches(problem: Problem, training: Training, seed: int) -> Batches:
    def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
        shift_px = training.augment_shift_px if training.augment == ROTATION_SHIFT else 0.0
        return augment(images, generator, training.augment_angle_rad, shift_px)

    augmentation = None if training.augment == NO_AUGMENTATION else augmented
    return Batches(problem.x_train, problem.y_train, training.batch_size, seed, augmentation)


def _fit(
    module: Classifier,
    batches: Batches,
    callbacks: list[pl.Callback],
    device: torch.device,
    checkpoint: Path,
    identity: str,
) -> None:
    resumes = checkpoint.exists()
    if resumes:
        log.info("resuming from %s", checkpoint)
    with warnings.catch_warnings():
        # Batches are in memory, so worker processes would only copy them.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*`srun` command is available.*")
        if module.centred is not None:
            warnings.filterwarnings("ignore", ".*in eval mode at the start of training.*")  # the initial network
        trainer = pl.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            max_epochs=module.options.epochs,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            # Within a SLURM job Lightning would otherwise try to train on all tasks of the job.
            plugins=[CheckpointFile(identity), LightningEnvironment()],
        )
        try:
            trainer.fit(module, batches, ckpt_path=checkpoint if resumes else None)
        except SystemExit as error:
            # Lightning turns Ctrl-C into an exit; the command line has a better message for it.
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
