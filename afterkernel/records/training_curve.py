"""The training curve of a run: its loss and learning rate while it trains, in RUN_DIR/training_curve.jsonl.

Loggers get these points as they are made. A run that continues sends them again from this file, so that each logger has
the whole curve, and each point once. No result depends on the file.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

from afterkernel.records.files import write_atomic
from afterkernel.records.record import column

log = logging.getLogger(__name__)

CURVE = "training_curve.jsonl"


@dataclasses.dataclass(frozen=True)
class TrainingPoint:
    """One point: after `step` steps of the optimiser. Losses are those of the batches, before their step."""

    step: int
    epoch: float
    batch_loss: float = column(
        "cross-entropy of the batches since the last point, mean", "training", unit="nats", log=True
    )
    lr: float = column("training.lr, as its schedule has changed it", "training")
    progress: float = column("share of the work that is done", "training", unit="share in [0, 1]")
    epoch_loss: float | None = column(
        "cross-entropy of the batches of an epoch, mean", "training", unit="nats", log=True, default=None
    )

    def numbers(self) -> dict[str, float]:
        """The numbers of the point by the names of metrics: epoch and training/NAME."""
        own = {name: value for name, value in vars(self).items() if name not in ("step", "epoch") and value is not None}
        return {"epoch": self.epoch} | {f"training/{name}": value for name, value in own.items()}


class TrainingCurve:
    """The points so far of one start of a run, which `identity` names; a file of another start is replaced."""

    def __init__(self, run_dir: Path, identity: str) -> None:
        self.path, self.identity = run_dir / CURVE, identity
        self.points = self._read()
        self._begun = self._failed = False

    def add(self, point: TrainingPoint) -> bool:
        """Add a point; False for one that the curve has, because training continues from an earlier checkpoint."""
        if self.points and point.step <= self.points[-1].step:
            return False
        self.points.append(point)
        try:
            self._write(point)
        except OSError as error:
            if not self._failed:
                log.warning("the training curve can't be written (%s); training continues", error.strerror)
            self._failed = True
        return True

    def _write(self, point: TrainingPoint) -> None:
        if self._begun:
            with self.path.open("a") as file:
                file.write(_line(point))
            return
        # All of them: the last line of a killed process may be incomplete.
        write_atomic(self.path, json.dumps({"run": self.identity}) + "\n" + "".join(map(_line, self.points)))
        self._begun = True

    def _read(self) -> list[TrainingPoint]:
        points: list[TrainingPoint] = []
        try:
            head, *lines = self.path.read_text().splitlines()
            if json.loads(head) != {"run": self.identity}:
                return []
            for line in lines:
                points.append(TrainingPoint(**json.loads(line)))
        except (OSError, ValueError, TypeError):  # missing, or incomplete at its end
            pass
        return points


def _line(point: TrainingPoint) -> str:
    return json.dumps(dataclasses.asdict(point)) + "\n"
