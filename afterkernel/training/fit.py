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
from afterkernel.progress.work import stage
from afterkernel.training.callbacks import (
    CheckCancelled,
    CheckpointFile,
    ReportEpoch,
    SaveCheckpoint,
    SaveRandomState,
    SaveSnapshots,
    StopAtDivergence,
    StopAtLoss,
)
from afterkernel.training.checkpoint import CHECKPOINT
from afterkernel.training.execution import Execution
from afterkernel.training.module import Classifier
from afterkernel.training.options import Snapshots, Training
from afterkernel.training.snapshot import Snapshot
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
) -> tuple[Snapshot, float, bool | None]:
    """Train for at least one epoch, as described in `afterkernel.training.train.train`.

    Returns the last snapshot, the seconds of training, and whether the loss target was reached (None without one).
    """
    timer, identity, check_cancelled = Timer(verbose=False), execution.identity, execution.check_cancelled
    target = StopAtLoss(training.loss_target) if training.loss_target is not None else None
    path = run_dir / CHECKPOINT
    module = Classifier(network, problem, training)
    # The target comes first: it decides whether an epoch is the last.
    callbacks = [
        *([target] if target else []),
        StopAtDivergence(),
        CheckCancelled(check_cancelled),
        timer,
        SaveRandomState(),
        SaveSnapshots(run_dir, snapshots.rule(), timer, identity, check_cancelled),
        SaveCheckpoint(path, execution.checkpoint_every_s, check_cancelled),
    ]
    with stage("training", training.epochs) as progress:
        callbacks.append(ReportEpoch(progress, at_most=target is not None))
        batches = _batches(problem, training, execution.seed)
        _fit(module, batches, callbacks, execution.device, path, identity)
    return module.measure(), timer.time_elapsed(), target.reached if target else None


def _batches(problem: Problem, training: Training, seed: int) -> Batches:
    def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
        return augment(images, generator, training.augment_angle_rad, training.augment_shift_px)

    augmentation = augmented if training.augment else None
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
