"""One run: load, train, snapshot, evaluate, record."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import torch
import yaml

from afterkernel.config import Config, config_from_dict, config_to_dict, device, evaluation_id, run_id
from afterkernel.config.schema import public
from afterkernel.data import Problem
from afterkernel.errors import UserError
from afterkernel.files.reading import read_yaml_text
from afterkernel.measures import MeasureState
from afterkernel.progress.work import stage
from afterkernel.records import Record, next_number, write_record, write_text_atomic
from afterkernel.records.files import CONFIG, RECORDS, TILES, check_run_folder, remove_drafts
from afterkernel.runs.artifacts import check_checkpoints, check_kept, delete_unkept_artifacts
from afterkernel.runs.evaluate import evaluate
from afterkernel.runs.finished import is_finished, snapshots, valid_records, wanted_epochs
from afterkernel.runs.run_lock import RunLock
from afterkernel.runs.run_state import RunState, begin, check_tiles, discard_replaced, state_to_evaluate
from afterkernel.runs.warm_start import WarmStarts, read_warm_starts, sample_path, warm_start_path, write_warm_starts
from afterkernel.training import snapshot
from afterkernel.training.snapshot import Snapshot
from afterkernel.training.train import train
from afterkernel.wandb.mirror import Mirror, mirror

log = logging.getLogger(__name__)


def run(
    config: Config, run_dir: Path, *, lock: RunLock | None = None, check_cancelled: Callable[[], None] = lambda: None
) -> bool:
    """Train and evaluate one network, unless the same run has done so: what is finished is left alone.

    A run that broke off continues from its checkpoint, or with the snapshots that have no record; `force` begins anew.
    `check_cancelled` is called often, and before any file is written; it may raise to end the run. Returns whether
    there was anything to do. `lock` is the lock of the run. Raises UserError for a mistake that only the data or the training
    can show.
    """
    lock_number = next_number(run_dir) if lock is None else lock.number
    remove_drafts(run_dir)
    with stage("loading the data"):
        problem = config.dataset.load()
    with cpu_threads(config):
        state = begin(config, run_dir, problem.fingerprint, lock_number, check_cancelled)
        summary = snapshot.read_summary(run_dir)
        done = summary is not None and is_finished(config, run_dir, state, summary)
        if done:
            log.info("%s is finished already; force=true runs it again", run_dir)
            _repair_config(config, run_dir)
        else:
            _run(config, problem, run_dir, state, lock_number, check_cancelled)
        check_cancelled()
        delete_unkept_artifacts(config, run_dir)
        discard_replaced(run_dir)
    return not done


def _run(
    config: Config,
    problem: Problem,
    run_dir: Path,
    state: RunState,
    lock_number: int,
    check_cancelled: Callable[[], None],
) -> None:
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
    _write_config(config, run_dir)
    name = run_id(config)
    with wandb_run(config, run_dir, name) as board:
        with as_begun(config, run_dir, {"device": state.device, "threads": state.threads}) as begun:
            while _lacks_snapshots(begun, run_dir, state, name, len(problem.y_train)):
                check_cancelled()
                snapshot.forget_summary(run_dir)  # a repeated training counts once it has ended
                _train(begun, problem, run_dir, state, check_cancelled)
        known = valid_records(config, run_dir, name, state, snapshots(run_dir, state), snapshot.read_summary(run_dir))
        first = {"device": state.device, "threads": state.threads}
        for record in known.values():
            first = record.provenance.get("execution", first)
        with as_begun(config, run_dir, first) as begun:
            _evaluate_all(begun, problem, run_dir, state, name, board, known, lock_number, check_cancelled)
    log.info("records are in %s", run_dir / RECORDS)


def _train(
    config: Config, problem: Problem, run_dir: Path, state: RunState, check_cancelled: Callable[[], None]
) -> None:
    torch.manual_seed(config.seed)
    network = config.arch.build(problem.image_shape)
    log.info("%s of width %d: %d parameters", config.arch.name, network.width, network.parameter_count)
    train(
        network,
        problem,
        config.training,
        config.snapshot,
        run_dir,
        seed=config.seed,
        device=device(config),
        identity=state.identity,
        checkpoint_every_s=config.trainer.checkpoint_every_s,
        check_cancelled=check_cancelled,
    )


def _lacks_snapshots(config: Config, run_dir: Path, state: RunState, name: str, n: int) -> bool:
    """Whether a snapshot is missing, or the weights of one that is still to be evaluated: then training is repeated."""
    summary = snapshot.read_summary(run_dir)
    if summary is None:
        return True
    found, wanted = snapshots(run_dir, state), wanted_epochs(config, summary.epochs)
    missing = [epoch for epoch in wanted if epoch not in found]
    if not missing:
        facts = [found[epoch] for epoch in wanted]
        known = valid_records(config, run_dir, name, state, found, summary)
        to_do = _to_do(config, run_dir, state, facts, known, n)
        missing = [epoch for epoch in sorted(to_do) if not snapshot.weights_path(run_dir, epoch).exists()]
    if missing:
        log.info("the snapshot of epoch %d or its weights are missing: training is repeated", missing[0])
    else:
        log.info("training is finished; continuing with its snapshots")
    return bool(missing)


def reevaluate(config: Config, run_dir: Path, name: str, *, lock: RunLock | None = None) -> None:
    """Recompute kernels, SVM and measures of a run's snapshots, without training; `name` is the id of the run.

    `lock` is the lock of the run. Raises UserError where the run has no snapshots, or where they are damaged or another
    run's.
    """
    lock_number = next_number(run_dir) if lock is None else lock.number
    check_cancelled = (lambda: None) if lock is None else lock.check
    if not snapshot.paths(run_dir):
        raise UserError(f"{run_dir} has no snapshots: name the folder of one run, such as runs/SWEEP/RUN_ID.")
    check_checkpoints(run_dir)
    check_kept(config, run_dir)
    with stage("loading the data"):
        problem = config.dataset.load()
    state = state_to_evaluate(config, run_dir, problem.fingerprint)
    config.measure.warn_of_images(*problem.image_shape[1:])
    with cpu_threads(config), wandb_run(config, run_dir, name) as board:
        _evaluate_all(config, problem, run_dir, state, name, board, {}, lock_number, check_cancelled)
    delete_unkept_artifacts(config, run_dir)
    log.info("records are in %s", run_dir / RECORDS)


def read_config(run_dir: Path) -> Config:
    """The configuration that a run was made with. Raises UserError where it is missing or of another version."""
    check_run_folder(run_dir)
    path = run_dir / CONFIG
    try:
        return config_from_dict(yaml.safe_load(read_yaml_text(path)))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a configuration of this version: {reason}") from error


def _repair_config(config: Config, run_dir: Path) -> None:
    """Write the configuration, unless the one that is there is of the same run."""
    with contextlib.suppress(UserError):
        if run_id(read_config(run_dir)) == run_id(config):
            return
    _write_config(config, run_dir)


def _write_config(config: Config, run_dir: Path) -> None:
    write_text_atomic(run_dir / CONFIG, yaml.safe_dump(config_to_dict(config), sort_keys=False))


@contextlib.contextmanager
def cpu_threads(config: Config) -> Iterator[None]:
    """Take as many CPU threads as trainer.threads asks for, within the block."""
    before = torch.get_num_threads()
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def as_begun(config: Config, run_dir: Path, first: dict[str, object]) -> Iterator[Config]:
    """The configuration with the device, threads and memory budget that the run began with, in effect in the block.

    Other values change last digits, so that a run keeps its first ones. UserError where there is no such device here.
    """
    asked = {
        "device": device(config).type,
        "threads": torch.get_num_threads(),
        "budget_bytes": config.kernel.budget_bytes,
    }
    begun = asked | first
    options = {"device": "trainer.device", "threads": "trainer.threads", "budget_bytes": "kernel.budget_bytes"}
    changed = [f"{options[key]}={begun[key]} (not {asked[key]})" for key in options if begun[key] != asked[key]]
    if begun["device"] == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"{run_dir} was begun on a GPU, and torch finds none here: continue it where there is one, or begin anew "
            "with force=true."
        )
    if changed:
        log.info("as it began, the run continues with %s: others would change last digits", ", ".join(changed))
        trainer = replace(config.trainer, device=str(begun["device"]), threads=int(str(begun["threads"])))
        kernel = replace(config.kernel, budget_bytes=int(str(begun["budget_bytes"])))
        config = replace(config, trainer=trainer, kernel=kernel)
    with cpu_threads(config):
        yield config


def _evaluate_all(
    config: Config,
    problem: Problem,
    run_dir: Path,
    state: RunState,
    name: str,
    board: Mirror,
    known: dict[int, Record],
    lock_number: int,
    check_cancelled: Callable[[], None],
) -> None:
    """Evaluate each snapshot and mirror it; those with a `known` record keep it."""
    summary = snapshot.read_summary(run_dir)
    network = config.arch.build(problem.image_shape)
    found = snapshots(run_dir, state)
    facts_of_all, n = [found[epoch] for epoch in sorted(found)], len(problem.y_train)
    to_do = _to_do(config, run_dir, state, facts_of_all, known, n)
    starts: WarmStarts = {}
    measured = MeasureState()
    tiles = run_dir / TILES
    with stage("snapshots", len(facts_of_all), last=True) as told:
        for number, facts in enumerate(facts_of_all, start=1):
            told.name = f"epoch {facts.epoch} (snapshot {number} of {len(facts_of_all)})"
            kept, owner = warm_start_path(run_dir, facts.epoch, evaluation_id(config)), _owner(state, facts)
            if facts.epoch not in to_do:
                starts = read_warm_starts(kept, n, owner) or {}
                measured.load(sample_path(kept), facts.epoch, owner)
                record = known[facts.epoch]
                told.start_at(number)
            else:
                snapshot.load(run_dir, network, snapshot.facts_path(run_dir, facts.epoch))
                check_tiles(run_dir, tiles / f"epoch={facts.epoch}", state, owner, check_cancelled)
                record = evaluate(
                    *(network, facts, problem, config),
                    run_id=name,
                    final=summary is not None and facts.epoch == summary.epochs,
                    tiles=tiles / f"epoch={facts.epoch}",
                    starts=starts,
                    measured=measured,
                    run_dir=run_dir,
                    owner=owner,
                )
                check_cancelled()
                write_warm_starts(kept, starts, owner)
                measured.save(sample_path(kept), owner)
                check_cancelled()
                write_record(run_dir, record, lock_number)
                check_cancelled()  # they may be the successor's
                shutil.rmtree(tiles, ignore_errors=True)
                told.advance()
            board.log(record)


def _to_do(
    config: Config, run_dir: Path, state: RunState, facts: list[Snapshot], known: dict[int, Record], n: int
) -> set[int]:
    """Epochs to evaluate: those without a record, and those whose warm start or sample a later one of them needs."""
    to_do: set[int] = set()
    for i in reversed(range(len(facts))):
        needed = i + 1 < len(facts) and facts[i + 1].epoch in to_do
        needed |= facts[i].epoch == 0 and bool(to_do) and config.measure.needs_history
        if facts[i].epoch not in known or (needed and not _left_whole(config, run_dir, state, facts[i], n)):
            to_do.add(facts[i].epoch)
    return to_do


def _left_whole(config: Config, run_dir: Path, state: RunState, facts: Snapshot, n: int) -> bool:
    """Whether what the evaluation of a snapshot left for later ones can be read."""
    path, owner = warm_start_path(run_dir, facts.epoch, evaluation_id(config)), _owner(state, facts)
    if read_warm_starts(path, n, owner) is None:
        return False
    return not config.measure.needs_history or MeasureState().load(sample_path(path), facts.epoch, owner)


def _owner(state: RunState, facts: Snapshot) -> str:
    return f"{state.identity} {facts.sha256}"


def wandb_run(config: Config, run_dir: Path, name: str) -> AbstractContextManager[Mirror]:
    """The W&B run; an evaluation with other options than the run's own has one of its own."""
    plain = config_to_dict(config)
    return mirror(
        config.logger.wandb,
        run_dir,
        name=name if run_id(config) == name else f"{name}-{evaluation_id(config)}",
        sweep=config.sweep.name,
        config=public(plain),
        places=[str(plain["output_dir"]), *([str(plain["dataset"]["root"])] if plain["dataset"].get("root") else [])],
    )
