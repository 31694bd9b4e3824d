"""Training one network, snapshots and all."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from afterkernel.data.module import ProblemDataModule
from afterkernel.data.problem import Problem
from afterkernel.models import Network
from afterkernel.progress import stage
from afterkernel.training.callbacks import SaveSnapshots, StopAtDivergence, StopAtLoss, TellEpoch, Watch
from afterkernel.training.checkpoint import CHECKPOINT, CheckedFile, Clock, KeepCheckpoint, KeepRandomState
from afterkernel.training.module import Classifier, measure
from afterkernel.training.options import Snapshots, Training
from afterkernel.training.snapshot import TrainingSummary, save, write_summary
from afterkernel.transforms import augment
from afterkernel.types import Tensor

log = logging.getLogger(__name__)


def train(
    network: Network,
    problem: Problem,
    training: Training,
    snapshots: Snapshots,
    run_dir: Path,
    *,
    seed: int,
    device: torch.device,
    identity: str = "",
    checkpoint_every_s: float = math.inf,
    look: Callable[[], None] = lambda: None,
) -> TrainingSummary:
    """Train `network` in place; snapshots and a summary are written below `run_dir`.

    A checkpoint there, of the same `identity`, is gone on from, to the same numbers as without a break: the order of
    the images and their augmentation follow from `seed` and the epoch alone. All files carry the identity. `look` is
    called after every step and before every file, and may raise to end the training.
    Raises UserError where training diverges (the snapshots made by then stay) or the checkpoint can't be gone on from.
    """
    clock = Clock()
    if beyond := [epoch for epoch in snapshots.epochs if epoch > training.epochs]:
        told = ",".join(map(str, beyond))
        log.info("no snapshot at epochs %s: training.epochs=%d ends before them", told, training.epochs)
    # With channels last a CPU takes half the time for convolutions.
    network.to(memory_format=memory_format(network))
    target = StopAtLoss(training.loss_target) if training.loss_target is not None else None
    path = run_dir / CHECKPOINT
    if training.epochs == 0:
        last = measure(network, problem, epoch=0, step=0)
        look()
        save(run_dir, replace(last, run=identity), network)
    else:
        module = Classifier(network, problem, training)
        # The target comes first, for it decides whether an epoch is the last.
        callbacks = [
            *([target] if target else []),
            StopAtDivergence(),
            Watch(look),
            clock,
            KeepRandomState(),
            SaveSnapshots(run_dir, snapshots.epochs, clock, identity, look),
            KeepCheckpoint(path, checkpoint_every_s, look),
        ]
        with stage("training", training.epochs) as how_far:
            callbacks.append(TellEpoch(how_far, at_most=target is not None))
            _fit(module, _data(problem, training, seed), callbacks, device, path, identity)
        last = module.measure()
    reached = target.reached if target else None
    summary = TrainingSummary(
        epochs=last.epoch,
        stopped_by="loss_target" if reached else "epochs",
        loss_target_reached=reached,
        data_sha256=problem.fingerprint,
        wall_s=clock.wall_s,
        run=identity,
    )
    if reached is False:
        log.warning(
            "training.loss_target=%g was not reached in training.epochs=%d epochs: the loss is %.4g",
            training.loss_target,
            training.epochs,
            last.train_loss,
        )
    look()
    write_summary(run_dir, summary)
    path.unlink(missing_ok=True)
    return summary


def _data(problem: Problem, training: Training, seed: int) -> ProblemDataModule:
    def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
        return augment(images, generator, training.augment_angle_rad, training.augment_shift_px)

    return ProblemDataModule(problem, training.batch_size, seed, augmented if training.augment else None)


def _fit(
    module: Classifier,
    data: ProblemDataModule,
    callbacks: list[pl.Callback],
    device: torch.device,
    checkpoint: Path,
    identity: str,
) -> None:
    goes_on = checkpoint.exists()
    if goes_on:
        log.info("going on from %s", checkpoint)
    with warnings.catch_warnings():
        # One process feeds whole batches from memory: workers would only copy them.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*`srun` command is available.*")
        trainer = pl.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            max_epochs=module.options.epochs,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            # One process trains a network, also within a SLURM job, where Lightning would think otherwise.
            plugins=[CheckedFile(identity), LightningEnvironment()],
        )
        try:
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint if goes_on else None)
        except SystemExit as error:
            # Lightning turns Ctrl-C into an exit; the command line tells it better.
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
