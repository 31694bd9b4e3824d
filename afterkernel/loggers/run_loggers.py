"""All loggers of a run. What they do changes no result and stops no run: the first failure of each is one warning."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator

from afterkernel.loggers.options import Logger
from afterkernel.records.logged_run import LoggedRun, RunLogger
from afterkernel.records.record import Record
from afterkernel.records.training_curve import TrainingPoint
from afterkernel.wandb.account import reason
from afterkernel.wandb.redact import without_paths

log = logging.getLogger(__name__)


class RunLoggers:
    """The loggers of a run; those that failed get nothing more."""

    def __init__(self, starts: dict[str, Callable[[], RunLogger]]) -> None:
        self._loggers: list[RunLogger] = []
        for title, start in starts.items():
            try:
                self._loggers.append(start())
            # An error of a logger does not affect the run itself.
            except Exception as error:
                _warn(title, error)

    def log_point(self, point: TrainingPoint) -> None:
        """Log a point of the training curve."""
        self._all(lambda logger: logger.log_point(point))

    def log_record(self, record: Record, progress: float) -> None:
        """Log the record of a snapshot; `progress` is the share of snapshots that are evaluated."""
        self._all(lambda logger: logger.log_record(record, progress))

    def end(self, state: str, error: str | None = None) -> None:
        """End the run as "finished", or as "failed" or "interrupted" with a reason."""
        self._all(lambda logger: logger.end(state, error))

    def _all(self, action: Callable[[RunLogger], None]) -> None:
        for logger in list(self._loggers):
            try:
                action(logger)
            except Exception as error:
                self._loggers.remove(logger)
                _warn(logger.title, error)
                with contextlib.suppress(Exception):
                    logger.abandon()


def _warn(title: str, error: Exception) -> None:
    log.warning("%s logging stopped for this run (%s); the records are complete", title, reason(error))


@contextlib.contextmanager
def run_loggers(options: Logger, logged: LoggedRun, curve: Iterable[TrainingPoint] = ()) -> Iterator[RunLoggers]:
    """The loggers that the options choose, ended at the end of the `with` block; after an exception as failed.

    `curve` is the part of the training curve that is known already, with which they begin.
    """
    loggers = RunLoggers(_starts(options, logged))
    try:
        for point in curve:
            loggers.log_point(point)
        yield loggers
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
            loggers.end("interrupted", "interrupted before its end")
        else:
            loggers.end("failed", without_paths(reason(error), logged.local_paths))
        raise
    loggers.end("finished")


def _starts(options: Logger, logged: LoggedRun) -> dict[str, Callable[[], RunLogger]]:
    """The chosen loggers, by title, not started: packages are imported only for those."""
    starts: dict[str, Callable[[], RunLogger]] = {}
    if options.wandb.effective_mode() != "disabled":
        starts["W&B"] = lambda: _wandb(options, logged)
    if options.csv.enabled:
        starts["CSV"] = lambda: _csv(logged)
    if options.tensorboard.enabled:
        starts["TensorBoard"] = lambda: _tensorboard(logged)
    if options.mlflow.enabled:
        starts["MLflow"] = lambda: _mlflow(options, logged)
    return starts


def _wandb(options: Logger, logged: LoggedRun) -> RunLogger:
    from afterkernel.wandb.run import WandbRun, end_service

    try:
        return WandbRun(options.wandb, logged)
    except Exception:
        end_service()
        raise


def _csv(logged: LoggedRun) -> RunLogger:
    from afterkernel.loggers.lightning import CsvRun

    return CsvRun(logged)


def _tensorboard(logged: LoggedRun) -> RunLogger:
    from afterkernel.loggers.lightning import TensorBoardRun

    return TensorBoardRun(logged)


def _mlflow(options: Logger, logged: LoggedRun) -> RunLogger:
    from afterkernel.loggers.lightning import MlflowRun

    return MlflowRun(options.mlflow, logged)
