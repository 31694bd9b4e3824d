"""Lightning's loggers: a CSV file, TensorBoard, MLflow. Each gets the numbers that W&B gets, by the same names."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from afterkernel.loggers.options import Mlflow
from afterkernel.records.logged_run import LoggedRun
from afterkernel.records.metrics import PROGRESS, facts_of, numbers_of
from afterkernel.records.record import Record
from afterkernel.records.training_curve import TrainingPoint

_MLFLOW_FILE = "mlflow.db"
# Tags of an MLflow run by which it is found again.
_NAME, _START = "afterkernel.name", "afterkernel.start"


class _LightningRun:
    """A run of one of Lightning's loggers, against the steps of the optimiser."""

    title = ""

    def __init__(self, logger: Any, logged: LoggedRun) -> None:
        self.logger, self.logged = logger, logged
        self._has_facts = False

    def log_point(self, point: TrainingPoint) -> None:
        """Log a point of the training curve."""
        self._log(point.numbers(), point.step)

    def log_record(self, record: Record, progress: float) -> None:
        """Log the record of a snapshot."""
        if not self._has_facts:
            self._log_options(self.logged.config | facts_of(record))
            self._has_facts = True
        self._log(numbers_of(record) | {PROGRESS: progress}, record.step)
        self.logger.save()

    def end(self, state: str, error: str | None = None) -> None:
        """End the run."""
        self.logger.finalize("success" if state == "finished" else "failed")

    def abandon(self) -> None:
        """Nothing is held."""

    def _log(self, numbers: dict[str, float], step: int) -> None:
        self.logger.log_metrics(numbers, step=step)

    def _log_options(self, options: dict[str, Any]) -> None:
        self.logger.log_hyperparams(options)


class CsvRun(_LightningRun):
    """The file RUN_DIR/csv/run/metrics.csv."""

    title = "CSV"

    def __init__(self, logged: LoggedRun) -> None:
        from pytorch_lightning.loggers import CSVLogger

        super().__init__(CSVLogger(*_emptied(logged.folder("csv"))), logged)


class TensorBoardRun(_LightningRun):
    """The files of TensorBoard in RUN_DIR/tensorboard/run."""

    title = "TensorBoard"

    def __init__(self, logged: LoggedRun) -> None:
        from pytorch_lightning.loggers import TensorBoardLogger

        super().__init__(TensorBoardLogger(*_emptied(logged.folder("tensorboard")), default_hp_metric=False), logged)


class MlflowRun(_LightningRun):
    """A run of MLflow in the experiment SWEEP. A run that continues gets only the numbers that it lacks."""

    title = "MLflow"

    def __init__(self, options: Mlflow, logged: LoggedRun) -> None:
        from mlflow.tracking import MlflowClient
        from pytorch_lightning.loggers import MLFlowLogger

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it reports how it makes its database
        uri = options.tracking_uri or f"sqlite:///{(logged.run_dir.parent / _MLFLOW_FILE).absolute()}"
        tags = {_NAME: logged.name, _START: logged.start}
        client = MlflowClient(uri)
        experiment_id = _experiment_id(client, logged.sweep)
        named = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
        found = client.search_runs([experiment_id], named, max_results=1)
        self._has = set[tuple[str, int]]()
        for run in found:
            client.update_run(run.info.run_id, status="RUNNING")
            for name in run.data.metrics:
                self._has |= {(name, metric.step) for metric in client.get_metric_history(run.info.run_id, name)}
        # Made here, since Lightning and MLflow would add the user's name, the program's path and the commit.
        own = found[0] if found else client.create_run(experiment_id, tags=tags, run_name=logged.name)
        super().__init__(MLFlowLogger(logged.sweep, tracking_uri=uri, run_id=own.info.run_id), logged)
        self._has_facts = any(run.data.params for run in found)

    def _log(self, numbers: dict[str, float], step: int) -> None:
        new = {name: value for name, value in numbers.items() if (name, step) not in self._has}
        self._has |= {(name, step) for name in new}
        if new:
            self.logger.log_metrics(new, step=step)


def _experiment_id(client: Any, name: str) -> str:
    """The id of an MLflow experiment, which is made if it is not there."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(name))
    except MlflowException:  # it is there: another run of the sweep may have made it just now
        if (experiment := client.get_experiment_by_name(name)) is None:
            raise
        return str(experiment.experiment_id)


def _emptied(folder: Path) -> tuple[str, str, str]:
    """The arguments of Lightning for a folder, which is emptied: a run that continues logs everything again."""
    shutil.rmtree(folder, ignore_errors=True)
    return str(folder.parent), "", folder.name
