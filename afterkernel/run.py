"""One run: load, train, snapshot, evaluate, record."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
import yaml

from afterkernel.config import Config, device, evaluation_id, from_plain, run_id, to_plain, training_id
from afterkernel.data import Problem
from afterkernel.errors import UserError
from afterkernel.evaluate import evaluate
from afterkernel.finished import is_finished
from afterkernel.input_files import read_yaml_text
from afterkernel.keep import check_checkpoints, check_kept, drop_what_served
from afterkernel.logger.wandb import Mirror, mirror
from afterkernel.measures import MeasureState
from afterkernel.progress import stage
from afterkernel.store import read_records, recorded, write_record, write_text_atomic
from afterkernel.store.files import CONFIG, RECORDS, remove_drafts
from afterkernel.supports import Supports, read_supports, sample_path, supports_path, write_supports
from afterkernel.training import snapshot
from afterkernel.training.checkpoint import CHECKPOINT
from afterkernel.training.train import train

log = logging.getLogger(__name__)

TILES = "tiles"


def run(config: Config, run_dir: Path, *, look: Callable[[], None] = lambda: None) -> bool:
    """Train and evaluate one network, unless the same run has done so: what is finished is left alone.

    A run that broke off goes on from its checkpoint, or with the snapshots that have no record; `force` begins anew.
    `look` is called often, and may raise to end the run. Returns whether there was anything to do. Raises UserError
    for a mistake that only the data or the training can show.
    """
    threads(config)
    remove_drafts(run_dir)
    with stage("loading the data"):
        problem = config.dataset.load()
    if config.force:
        shutil.rmtree(run_dir / TILES, ignore_errors=True)
        snapshot.forget_summary(run_dir)
        (run_dir / CHECKPOINT).unlink(missing_ok=True)
    _check_data(problem, run_dir)
    if is_finished(config, run_dir):
        log.info("%s is finished already; force=true runs it again", run_dir)
        drop_what_served(config, run_dir)
        return False
    check_kept(config, run_dir)
    log.info(
        "%s %s against %s: %d training and %d test images",
        config.dataset.name,
        problem.minus,
        problem.plus,
        len(problem.x_train),
        len(problem.x_test),
    )
    config.measure.warn_of_images(*problem.image_shape[1:])
    write_text_atomic(run_dir / CONFIG, yaml.safe_dump(to_plain(config), sort_keys=False))
    torch.manual_seed(config.seed)
    network = config.arch.build(problem.image_shape)
    log.info("%s of width %d: %d parameters", config.arch.name, network.width, network.parameter_count)
    name = run_id(config)
    with _mirror(config, run_dir, name) as board:
        if snapshot.read_summary(run_dir) is None:
            train(
                network,
                problem,
                config.training,
                config.snapshot,
                run_dir,
                seed=config.seed,
                device=device(config),
                identity=f"{training_id(config)} {problem.fingerprint}",
                checkpoint_every_s=config.trainer.checkpoint_every_s,
                look=look,
            )
        else:
            log.info("training is finished already; going on with its snapshots")
        _evaluate_all(config, problem, run_dir, name, board, again=config.force, look=look)
    log.info("records are in %s", run_dir / RECORDS)
    return True


def reevaluate(config: Config, run_dir: Path, name: str) -> None:
    """Recompute kernels, SVM and measures of a run's snapshots, without training; `name` is the id of the run.

    Raises UserError where the run has no finished training or its snapshots are damaged.
    """
    threads(config)
    if not snapshot.paths(run_dir):
        raise UserError(f"{run_dir} has no snapshots: name the folder of one run, such as runs/SWEEP/RUN_ID.")
    check_checkpoints(run_dir)
    check_kept(config, run_dir)
    with stage("loading the data"):
        problem = config.dataset.load()
    _check_data(problem, run_dir)
    config.measure.warn_of_images(*problem.image_shape[1:])
    with _mirror(config, run_dir, name) as board:
        _evaluate_all(config, problem, run_dir, name, board, again=True)
    log.info("records are in %s", run_dir / RECORDS)


def _check_data(problem: Problem, run_dir: Path) -> None:
    """Snapshots are judged on the images that they were trained with, or not at all."""
    summary = snapshot.read_summary(run_dir)
    if summary is not None and summary.data_sha256 != problem.fingerprint:
        raise UserError(
            f"the images are not those that {run_dir} was trained with: restore them, or run again with force=true."
        )


def read_config(run_dir: Path) -> Config:
    """The configuration that a run was made with. Raises UserError where it is missing or of another version."""
    path = run_dir / CONFIG
    if not path.exists():
        raise UserError(f"{run_dir} is not a run: it has no {CONFIG}; name a folder runs/SWEEP/RUN_ID.")
    try:
        return from_plain(yaml.safe_load(read_yaml_text(path)))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a configuration of this version: {reason}") from error


def threads(config: Config) -> None:
    """Take as many CPU threads as trainer.threads asks for."""
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)


def _evaluate_all(
    config: Config,
    problem: Problem,
    run_dir: Path,
    name: str,
    board: Mirror,
    *,
    again: bool,
    look: Callable[[], None] = lambda: None,
) -> None:
    """Evaluate each snapshot and mirror it; where `again` is false, those that have their record keep it."""
    summary = snapshot.read_summary(run_dir)
    network = config.arch.build(problem.image_shape)
    starts: Supports = {}
    measured = MeasureState()
    before = read_records(run_dir) if recorded(run_dir, name) else []
    done = {(record.epoch, record.evaluation_id): record for record in before}
    paths = snapshot.paths(run_dir)
    with stage("snapshots", len(paths), last=True) as told:
        for number, path in enumerate(paths, start=1):
            facts = snapshot.load(run_dir, network, path)
            told.name = f"epoch {facts.epoch} (snapshot {number} of {len(paths)})"
            key = facts.epoch, evaluation_id(config)
            kept = supports_path(run_dir, *key)
            grams = sample_path(kept)
            # A record whose sample is lost is made again, as later ones are measured against that.
            if not again and key in done and (not config.measure.looks_back or measured.load(grams, facts.epoch)):
                starts, record = read_supports(kept, len(problem.y_train)), done[key]
                told.start_at(number)
            else:
                final = summary is not None and facts.epoch == summary.epochs
                tiles = run_dir / TILES / f"epoch={facts.epoch}"
                record = evaluate(
                    *(network, facts, problem, config),
                    run_id=name,
                    final=final,
                    tiles=tiles,
                    starts=starts,
                    measured=measured,
                    run_dir=run_dir,
                )
                look()
                write_supports(kept, starts)
                measured.save(grams)
                write_record(run_dir, record)
                shutil.rmtree(run_dir / TILES, ignore_errors=True)
                told.advance()
            board.log(record)
    drop_what_served(config, run_dir)


def _mirror(config: Config, run_dir: Path, name: str) -> AbstractContextManager[Mirror]:
    return mirror(
        config.logger.wandb,
        run_dir,
        run_id=name,
        sweep=config.sweep.name,
        config=to_plain(config),
    )
