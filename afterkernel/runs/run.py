"""One run: load, train, snapshot, evaluate, record."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from afterkernel.claims.readings import DIVERGED
from afterkernel.claims.training_failure import training_failures
from afterkernel.config import Config, config_from_dict, config_to_dict, device
from afterkernel.data import Problem
from afterkernel.data.label_noise import with_label_noise
from afterkernel.errors import MissingPluginError, NotFiniteError, UserError
from afterkernel.files.reading import read_yaml_text
from afterkernel.loggers.run_loggers import RunLoggers
from afterkernel.measures import MeasureState
from afterkernel.models import Network
from afterkernel.progress.work import Stage
from afterkernel.records import Record, next_number, write_atomic, write_record
from afterkernel.records.files import CONFIG, RECORDS, TILES, check_run_folder, remove_drafts
from afterkernel.records.store import remove_record
from afterkernel.records.training_curve import TrainingCurve, TrainingPoint
from afterkernel.runs.artifacts import check_checkpoints, check_saved_grams, delete_unkept_artifacts
from afterkernel.runs.evaluate import Evaluator
from afterkernel.runs.finished import is_finished, missing_snapshot, snapshots, valid_records
from afterkernel.runs.loggers import loggers_of
from afterkernel.runs.run_lock import RunLock
from afterkernel.runs.run_state import RunState, begin_run, check_tiles, discard_replaced, state_to_evaluate
from afterkernel.runs.warm_start import read_warm_starts, sample_path, warm_start_path, write_warm_starts
from afterkernel.text import classes_in_words, epochs
from afterkernel.training import snapshot
from afterkernel.training.execution import Execution
from afterkernel.training.options import NO_AUGMENTATION, ROTATION_SHIFT
from afterkernel.training.snapshot import Snapshot
from afterkernel.training.train import train

log = logging.getLogger(__name__)


def run(
    config: Config, run_dir: Path, *, lock: RunLock | None = None, check_cancelled: Callable[[], None] = lambda: None
) -> bool:
    """Train and evaluate one network; returns False if the run was finished already.

    An interrupted run continues from its checkpoint, or with the snapshots that have no record; with `force` it starts
    over. `check_cancelled` is called often, and before any file is written; it may raise to end the run. `lock` is the
    lock of the run. Raises UserError for a mistake that only the data or the training can show.
    """
    remove_drafts(run_dir)
    with Stage("loading the data"):
        problem = load_problem(config)
    with cpu_threads(config):
        lock_number = next_number(run_dir) if lock is None else lock.number
        state = begin_run(config, run_dir, problem.fingerprint, lock_number, check_cancelled)
        work = _Work(config, problem, run_dir, config.identity.run_id, state, lock_number, check_cancelled)
        summary = snapshot.read_summary(run_dir)
        done = summary is not None and is_finished(config, run_dir, state, summary)
        if done:
            log.info("%s is finished already; force=true runs it again", run_dir)
            _repair_config(config, run_dir)
        else:
            _run(work)
        check_cancelled()
        delete_unkept_artifacts(config, run_dir)
        discard_replaced(run_dir)
    return not done


@dataclass(frozen=True)
class _Work:
    """One run in progress: configuration, images, folder, id, state and number of the lock."""

    config: Config
    problem: Problem
    run_dir: Path
    run_id: str
    state: RunState
    lock_number: int
    check_cancelled: Callable[[], None]

    def snapshots(self) -> list[Snapshot]:
        """The snapshots of this start of the run, by step."""
        found = snapshots(self.run_dir, self.state)
        return [found[step] for step in sorted(found)]

    def records(self) -> dict[int, Record]:
        """The valid records by step."""
        found, summary = snapshots(self.run_dir, self.state), snapshot.read_summary(self.run_dir)
        return valid_records(self.config, self.run_dir, self.run_id, self.state, found, summary)


def load_problem(config: Config) -> Problem:
    """The images, with the labels that the network is trained with."""
    clean = config.dataset.load()
    noisy = with_label_noise(clean, config.training.label_noise, config.seed)
    if noisy is not clean:
        wrong = int((noisy.y_train != clean.y_train).sum())
        log.info("%d of %d training labels are wrong: training.label_noise", wrong, len(noisy.y_train))
    return noisy


def _build(work: _Work) -> Network:
    """The network of a run, freshly initialised."""
    network = work.config.arch.build(work.problem.image_shape, work.problem.n_outputs)
    network.output_scale = work.config.training.output_scale
    return network


def _run(work: _Work) -> None:
    config, problem, run_dir = work.config, work.problem, work.run_dir
    check_saved_grams(config, run_dir)
    log.info(
        "%s %s: %d training and %d test images",
        config.dataset.title,
        classes_in_words(problem.minus, problem.plus, problem.classes),
        len(problem.x_train),
        len(problem.x_test),
    )
    config.measure.warn_of_images(*problem.image_shape[1:])
    _write_config(config, run_dir)
    first: dict[str, object] = {"device": work.state.device, "threads": work.state.threads}
    with loggers_of(config, run_dir, work.run_id, work.state.identity) as loggers:
        with original_execution(config, run_dir, first) as started:
            training = replace(work, config=started)
            while _lacks_snapshots(training):
                work.check_cancelled()
                snapshot.remove_summary(run_dir)  # training counts as finished only when it has ended again
                _train(training, loggers)
        for record in work.records().values():
            first = record.provenance.get("execution", first)
        with original_execution(config, run_dir, first) as started:
            evaluated = replace(work, config=started)
            while diverged := _evaluate_all(evaluated, loggers, work.records()):
                _end_before(work, diverged)
    log.info("records are in %s", run_dir / RECORDS)


def _train(work: _Work, loggers: RunLoggers) -> None:
    config, curve = work.config, TrainingCurve(work.run_dir, work.state.identity)

    def on_point(point: TrainingPoint) -> None:
        if curve.add(point):
            loggers.log_point(point)

    torch.manual_seed(config.seed)
    network = _build(work)
    log.info("%s of width %d: %d parameters", config.arch.name, network.width, network.parameter_count)
    train(
        network,
        work.problem,
        config.training,
        config.snapshot,
        work.run_dir,
        Execution(
            seed=config.seed,
            device=device(config),
            identity=work.state.identity,
            checkpoint_every_s=config.trainer.checkpoint_every_s,
            check_cancelled=work.check_cancelled,
            curve_every=config.logger.every_steps,
            on_point=on_point,
        ),
    )


def _lacks_snapshots(work: _Work) -> bool:
    """Whether training must be repeated: a snapshot is missing, or the weights of one that has no record."""
    summary = snapshot.read_summary(work.run_dir)
    if summary is None:
        return True
    missing = missing_snapshot(work.config, summary, snapshots(work.run_dir, work.state))
    if missing is None:
        files = snapshot.paths_by_step(work.run_dir)
        to_do = sorted(_steps_to_evaluate(work, work.snapshots(), work.records()))
        missing = next((f"step {step}" for step in to_do if not files[step].with_suffix(".pt").exists()), None)
    if missing is None:
        log.info("training is finished; continuing with its snapshots")
    else:
        log.info("the snapshot of %s or its weights are missing: training is repeated", missing)
    return missing is not None


def reevaluate(config: Config, run_dir: Path, name: str, *, lock: RunLock | None = None) -> None:
    """Recompute kernels, SVM and measures of a run's snapshots, without training; `name` is the id of the run.

    `lock` is the lock of the run. Raises UserError if the run has no snapshots, or if they are damaged or another
    run's.
    """
    lock_number = next_number(run_dir) if lock is None else lock.number
    check_cancelled = (lambda: None) if lock is None else lock.check
    if not snapshot.paths(run_dir):
        raise UserError(f"{run_dir} has no snapshots: name the folder of one run, such as runs/SWEEP/RUN_ID.")
    check_checkpoints(run_dir)
    check_saved_grams(config, run_dir)
    with Stage("loading the data"):
        problem = load_problem(config)
    state = state_to_evaluate(config, run_dir, problem.fingerprint)
    config.measure.warn_of_images(*problem.image_shape[1:])
    work = _Work(config, problem, run_dir, name, state, lock_number, check_cancelled)
    with cpu_threads(config), loggers_of(config, run_dir, name, state.identity) as loggers:
        if (diverged := _evaluate_all(work, loggers, {})) is not None:
            raise UserError(f"the kernels of epoch {epochs(diverged.epoch)} are not finite: the training has diverged.")
    delete_unkept_artifacts(config, run_dir)
    log.info("records are in %s", run_dir / RECORDS)


def read_config(run_dir: Path) -> Config:
    """The configuration of a run. Raises UserError if it is missing or of another version."""
    check_run_folder(run_dir)
    path = run_dir / CONFIG
    try:
        return stored_config(yaml.safe_load(read_yaml_text(path)))
    except MissingPluginError as error:
        raise MissingPluginError(f"{path}: {error}") from error
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a configuration of this version: {reason}") from error


def stored_config(plain: Any) -> Config:
    """A configuration from plain data that this or an earlier version stored. Raises as `config_from_dict` does."""
    return config_from_dict(_present_options(plain))


def _present_options(plain: Any) -> Any:
    """A configuration that is stored, with the names that values of earlier versions have now."""
    training = plain.get("training") if isinstance(plain, dict) else None
    if isinstance(training, dict) and isinstance(training.get("augment"), bool):
        training["augment"] = ROTATION_SHIFT if training["augment"] else NO_AUGMENTATION
    return plain


def _repair_config(config: Config, run_dir: Path) -> None:
    """Write the configuration, unless the existing one is of the same run."""
    with contextlib.suppress(UserError):
        if read_config(run_dir).identity.run_id == config.identity.run_id:
            return
    _write_config(config, run_dir)


def _write_config(config: Config, run_dir: Path) -> None:
    write_atomic(run_dir / CONFIG, yaml.safe_dump(config_to_dict(config), sort_keys=False))


@contextlib.contextmanager
def cpu_threads(config: Config) -> Iterator[None]:
    """Use trainer.threads CPU threads within the block."""
    before = torch.get_num_threads()
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def original_execution(config: Config, run_dir: Path, first: dict[str, object]) -> Iterator[Config]:
    """The configuration with the device, threads and memory budget that the run was started with; active in the block.

    Other values would change the last digits of the numbers. UserError if this machine has no such device.
    """
    wanted = {
        "device": device(config).type,
        "threads": torch.get_num_threads(),
        "budget_bytes": config.kernel.budget_bytes,
    }
    started = wanted | first
    options = {"device": "trainer.device", "threads": "trainer.threads", "budget_bytes": "kernel.budget_bytes"}
    changed = [f"{options[key]}={started[key]} (not {wanted[key]})" for key in options if started[key] != wanted[key]]
    if started["device"] == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"{run_dir} was started on a GPU, and torch finds none here: continue it on a machine with a GPU, or start "
            "over with force=true."
        )
    if changed:
        log.warning(
            "the run continues with %s, as it was started, since other values would change the last digits: finish it "
            "with the options and launcher.processes that it was started with, or start it over with force=true",
            ", ".join(changed),
        )
        trainer = replace(config.trainer, device=str(started["device"]), threads=int(str(started["threads"])))
        kernel = replace(config.kernel, budget_bytes=int(str(started["budget_bytes"])))
        config = replace(config, trainer=trainer, kernel=kernel)
    with cpu_threads(config):
        yield config


def _end_before(work: _Work, diverged: Snapshot) -> None:
    """Take a training for diverged before this snapshot, whose kernels do not exist."""
    summary = snapshot.read_summary(work.run_dir)
    before = [facts for facts in work.snapshots() if facts.step < diverged.step]
    if summary is None:
        raise FileNotFoundError(work.run_dir / snapshot.SUMMARY)
    last, steps = before[-1], [facts.step for facts in before]
    log.warning("the run ends as diverged with the snapshot before, that of epoch %s", epochs(last.epoch))
    ending = replace(summary, stopped_by="diverged", epochs=last.epoch, steps=last.step, snapshots=steps)
    if summary.loss_target_reached is not None:
        ending = replace(ending, loss_target_reached=False)
    work.check_cancelled()
    snapshot.write_summary(work.run_dir, ending)
    snapshot.keep_only(work.run_dir, steps)
    # Its last record is now the final one.
    remove_record(work.run_dir, last.step, work.config.identity.evaluation_id, work.lock_number)


def _evaluate_all(work: _Work, loggers: RunLoggers, known: dict[int, Record]) -> Snapshot | None:
    """Evaluate each snapshot without a `known` record, and give all records to the loggers.

    A snapshot whose kernels are not finite is returned, if there is one before it.
    """
    config, run_dir, check_cancelled = work.config, work.run_dir, work.check_cancelled
    summary = snapshot.read_summary(run_dir)
    network = _build(work)
    facts_of_all, n = work.snapshots(), len(work.problem.y_train)
    to_do = _steps_to_evaluate(work, facts_of_all, known)
    evaluator, files = Evaluator(config, work.problem, work.run_id, run_dir), snapshot.paths_by_step(run_dir)
    with Stage("snapshots", len(facts_of_all), last=True) as progress:
        for number, facts in enumerate(facts_of_all, start=1):
            progress.name = f"epoch {epochs(facts.epoch)} (snapshot {number} of {len(facts_of_all)})"
            path = warm_start_path(run_dir, facts.step, config.identity.evaluation_id)
            owner, tiles = _owner(work.state, facts), run_dir / TILES / f"step={facts.step}"
            if facts.step not in to_do:
                evaluator.warm_starts = read_warm_starts(path, n, owner) or {}
                evaluator.history.load(sample_path(path), facts.step, owner)
                record = known[facts.step]
                progress.start_at(number)
            else:
                snapshot.load(run_dir, network, files[facts.step])
                check_tiles(run_dir, tiles, work.state, owner, check_cancelled)
                end = summary.stopped_by if summary is not None and summary.is_final(facts) else ""
                try:
                    record = evaluator.evaluate(network, facts, training_end=end, tiles=tiles, owner=owner)
                except NotFiniteError as error:
                    if number == 1:
                        raise
                    log.warning("%s", error)
                    return facts
                check_cancelled()
                write_warm_starts(path, evaluator.warm_starts, owner)
                evaluator.history.save(sample_path(path), owner)
                check_cancelled()
                write_record(run_dir, record, work.lock_number)
                check_cancelled()  # the tiles may be the successor's
                shutil.rmtree(run_dir / TILES, ignore_errors=True)
                progress.advance()
            loggers.log_record(record, number / len(facts_of_all))
    _warn_of_failure(record)
    return None


def _warn_of_failure(last: Record) -> None:
    """Warn of a network that has learned nothing. One that diverged has its own warning."""
    failure = next(iter(training_failures([last]).values()), "")
    if failure and failure != DIVERGED:
        log.warning(
            "the network has not learned: %s; claims leave this run out (train longer, or at another learning rate)",
            failure,
        )


def _steps_to_evaluate(work: _Work, facts: list[Snapshot], known: dict[int, Record]) -> set[int]:
    """Steps to evaluate: those without a record, and those whose lost warm start or sample a later one needs."""
    to_do: set[int] = set()
    for i in reversed(range(len(facts))):
        needed = i + 1 < len(facts) and facts[i + 1].step in to_do
        needed |= facts[i].step == 0 and bool(to_do) and work.config.measure.needs_history
        if facts[i].step not in known or (needed and not _has_warm_start(work, facts[i])):
            to_do.add(facts[i].step)
    return to_do


def _has_warm_start(work: _Work, facts: Snapshot) -> bool:
    """Whether the files that the evaluation of a snapshot wrote for later ones can be read."""
    path = warm_start_path(work.run_dir, facts.step, work.config.identity.evaluation_id)
    owner = _owner(work.state, facts)
    if read_warm_starts(path, len(work.problem.y_train), owner) is None:
        return False
    return not work.config.measure.needs_history or MeasureState().load(sample_path(path), facts.step, owner)


def _owner(state: RunState, facts: Snapshot) -> str:
    return f"{state.identity} {facts.sha256}"
