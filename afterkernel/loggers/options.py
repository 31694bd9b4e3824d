"""The options logger."""

from __future__ import annotations

import dataclasses
import importlib.util

from afterkernel.errors import UserError
from afterkernel.options import option
from afterkernel.wandb.options import Wandb


@dataclasses.dataclass
class Csv:
    """A table of all numbers."""

    enabled: bool = option(False, "log to RUN_ID/csv/run/metrics.csv; logger=csv sets it", affects_results=False)


@dataclasses.dataclass
class TensorBoard:
    """TensorBoard."""

    enabled: bool = option(
        False, "log to RUN_ID/tensorboard, for tensorboard --logdir; logger=tensorboard sets it", affects_results=False
    )


@dataclasses.dataclass
class Mlflow:
    """MLflow."""

    enabled: bool = option(
        False, "log to MLflow, in the experiment sweep.name; logger=mlflow sets it", affects_results=False
    )
    tracking_uri: str | None = option(
        None,
        "address of the MLflow server or database; by default the SQLite file mlflow.db in the folder of the sweep",
        affects_results=False,
        redact=True,
    )


# The package that each of Lightning's loggers needs; the extra of afterkernel that installs it has the logger's name.
_NEEDS = {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}


@dataclasses.dataclass
class Logger:
    """Services and files that get the numbers of a run, in addition to its records."""

    every_steps: int = option(
        50,
        "steps of training from one point of loss and learning rate to the next; the end of each epoch is always one",
        at_least=1,
        affects_results=False,
    )
    wandb: Wandb = option(Wandb, "Weights & Biases")
    csv: Csv = option(Csv, "a table of all numbers")
    tensorboard: TensorBoard = option(TensorBoard, "TensorBoard")
    mlflow: Mlflow = option(Mlflow, "MLflow")

    def check(self) -> None:
        """Raise UserError for a logger that can't work here: a package that is missing, an unknown account."""
        self.wandb.check()
        for name, modules in _NEEDS.items():
            missing = [module for module in modules if importlib.util.find_spec(module) is None]
            if getattr(self, name).enabled and missing:
                raise UserError(f"logger={name} needs {missing[0]}: pip install 'afterkernel[{name}]'.")
        uri = self.mlflow.tracking_uri
        if uri is not None and self.mlflow.enabled and not (uri == "databricks" or "://" in uri):
            raise UserError(
                f"logger.mlflow.tracking_uri={uri} is not an address: write http://HOST:PORT or sqlite:////FOLDER/FILE."
            )
