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
from afterkernel.records.files import CHECKPOINT
from afterkernel.text import epochs
from afterkernel.training.execution import Execution
from afterkernel.training.function import trained_function
from afterkernel.training.metrics import measure
from afterkernel.training.options import Snapshots, Training
from afterkernel.training.snapshot import (
    Ending,
    TrainingSummary,
    keep_only,
    load,
    paths_by_step,
    save,
    write_summary,
)

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

    A training whose loss becomes infinite or not a number ends as "diverged" with the last snapshot before.

    Raises UserError if the initial network has no finite loss, if the checkpoint can't be resumed, or if a network with
    BatchNorm would get a batch of one image.
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
        initial = measure(trained_function(network, training.centered_output), problem, epoch=0, step=0)
        execution.check_cancelled()
        save(run_dir, replace(initial, run=execution.identity), network)
        missed = sorted(snapshots.losses, reverse=True)
        ending = Ending("epochs", [0], missed, time.monotonic() - started)
    else:
        # Imported here, since importing Lightning takes seconds.
        with without_collections():
            from afterkernel.training.fit import fit

        ending = fit(network, problem, training, snapshots, run_dir, execution)
    execution.check_cancelled()
    keep_only(run_dir, ending.steps)
    last = load(run_dir, network, paths_by_step(run_dir)[ending.steps[-1]])
    summary = TrainingSummary(
        epochs=last.epoch,
        stopped_by=ending.by,
        loss_target_reached=None if training.loss_target is None else ending.by == "loss_target",
        data_sha256=problem.fingerprint,
        wall_s=ending.wall_s,
        run=execution.identity,
        steps=last.step,
        snapshots=ending.steps,
    )
    if summary.loss_target_reached is False and ending.by != "diverged":
        log.warning(
            "training.loss_target=%g was not reached in %s epochs: the loss is %.4g",
            training.loss_target,
            epochs(last.epoch),
            last.train_loss,
        )
    if ending.missed_losses:
        log.warning(
            "snapshot.losses=[%s] were not reached: the loss at the end, epoch %s, is %.4g",
            ",".join(f"{loss:g}" for loss in ending.missed_losses),
            epochs(last.epoch),
            last.train_loss,
        )
    execution.check_cancelled()
    write_summary(run_dir, summary)
    path.unlink(missing_ok=True)
    return summary
