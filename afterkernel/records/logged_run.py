"""A run as loggers see it: what they get in addition to its numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from afterkernel.records.record import Record
from afterkernel.records.training_curve import TrainingPoint


@dataclass(frozen=True)
class LoggedFile:
    """A file of a snapshot; `artifact` is the name of the W&B artifact that it is part of, and `kind` its type.

    `made_from` names the artifacts that this one was computed from.
    """

    kind: str
    artifact: str
    path: Path
    made_from: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoggedRun:
    """A run with its name and its sweep.

    `variant` is empty, or the evaluation that differs from the run's own. `config` is the public part of the
    configuration, as plain data. `start` names the start of the run: numbers of another start are other numbers.
    `local_paths` are removed from messages before they are sent. `files_of` gives the files of a record for artifacts.
    """

    run_dir: Path
    run_id: str
    variant: str
    sweep: str
    config: dict[str, Any]
    start: str
    local_paths: tuple[str, ...]
    files_of: Callable[[Record], list[LoggedFile]]

    @property
    def name(self) -> str:
        """The run's name for loggers, which differs for each evaluation of it."""
        return f"{self.run_id}-{self.variant}" if self.variant else self.run_id

    def folder(self, kind: str) -> Path:
        """The folder of what a logger of this kind writes."""
        return self.run_dir / kind / (self.variant or "run")


@runtime_checkable
class RunLogger(Protocol):
    """Gets the numbers of one run as they are computed. Its methods may raise anything."""

    title: str

    def log_point(self, point: TrainingPoint) -> None:
        """Log a point of the training curve."""

    def log_record(self, record: Record, progress: float) -> None:
        """Log the record of a snapshot; `progress` is the share of snapshots that are evaluated."""

    def end(self, state: str, error: str | None = None) -> None:
        """End the run as "finished", or as "failed" or "interrupted" with a reason."""

    def abandon(self) -> None:
        """Release what it holds, after one of the other methods has raised."""
