"""Training one network, with its snapshots."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

from afterkernel.data.problem import Problem
from afterkernel.kernels.machine import memory_format
from afterkernel.models import Network
from afterkernel.plugins import without_collections
from afterkernel.training.checkpoint import CHECKPOINT
from afterkernel.training.execution import Execution
from afterkernel.training.function import trained_function
from afterkernel.training.metrics import measure
from afterkernel.training.options import Snapshots, Training
from afterkernel.training.snapshot import TrainingSummary, save, write_summary

log = logging.getLogger(__name__)


def train(
    network: Network,
    problem: Problem,
    training: Training,
    snapshots: Snapshots,
    run_dir: Path,
    execution: Execution,
) -> TrainingSummary:
    """Train `network` in place, and write snapshots and a summary below `run_dir`.

    Training resumes from a checkpoint of the same identity in `run_dir`, with the same numbers as without interruption:
    the order of the images and their augmentation depend only on the seed and the epoch.

    Raises UserError if training diverges (snapshots made before are kept), if the checkpoint can't be resumed, or if a
    network with BatchNorm would get a batch of one image.
    """
    training.check_batches(network, len(problem.x_train))
    if beyond := [epoch for epoch in snapshots.epochs if epoch > training.epochs]:
        listed = ",".join(map(str, beyond))
        log.info("no snapshot at epochs %s: training.epochs=%d ends before them", listed, training.epochs)
    # With channels last, convolutions take half the time on a CPU.
    network.to(memory_format=memory_format(network))
    path = run_dir / CHECKPOINT
    if training.epochs == 0:
        started = time.monotonic()
        last = measure(trained_function(network, training.centered_output), problem, epoch=0, step=0)
        execution.check_cancelled()
        save(run_dir, replace(last, run=execution.identity), network)
        wall_s, reached = time.monotonic() - started, None if training.loss_target is None else False
    else:
        # Imported here, since importing Lightning takes seconds.
        with without_collections():
            from afterkernel.training.fit import fit

        last, wall_s, reached = fit(network, problem, training, snapshots, run_dir, execution)
    summary = TrainingSummary(
        epochs=last.epoch,
        stopped_by="loss_target" if reached else "epochs",
        loss_target_reached=reached,
        data_sha256=problem.fingerprint,
        wall_s=wall_s,
        run=execution.identity,
    )
    if reached is False:
        log.warning(
            "training.loss_target=%g was not reached in training.epochs=%d epochs: the loss is %.4g",
            training.loss_target,
            training.epochs,
            last.train_loss,
        )
    execution.check_cancelled()
    write_summary(run_dir, summary)
    path.unlink(missing_ok=True)
    return summary
