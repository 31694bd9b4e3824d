"""Weights & Biases as a mirror of the store: one W&B run a job, grouped by sweep, finished inside the job.

Offline unless asked otherwise: the files lie in RUN_DIR/wandb and `wandb sync` uploads them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

from afterkernel.options import option
from afterkernel.store.record import KernelRecord, Record

EPOCH = "epoch"
NETWORK_COLUMNS = ("train_loss", "net_train_error", "net_test_error")


@dataclasses.dataclass
class Wandb:
    """Weights & Biases."""

    mode: str = option(
        "offline",
        "offline needs no account; online mirrors as it runs; disabled logs nothing",
        choices=("offline", "online", "disabled"),
        decides=False,
    )
    project: str = option("afterkernel", "project that the runs go to", decides=False)
    entity: str | None = option(None, "user or team that owns the project; your default one by default", decides=False)


@dataclasses.dataclass
class Logger:
    """Where numbers are mirrored, beside the store."""

    wandb: Wandb = option(Wandb, "Weights & Biases")


@runtime_checkable
class Mirror(Protocol):
    """What is told of every record."""

    def log(self, record: Record) -> None:
        """Mirror one record."""


class _Silent:
    def log(self, record: Record) -> None:
        """Mirror nothing."""


class _WandbMirror:
    def __init__(self, run: Any) -> None:
        self.run = run
        run.define_metric(EPOCH)
        self._defined = {EPOCH}

    def log(self, record: Record) -> None:
        """Log one snapshot against its epoch; the last one's numbers are the run's summary."""
        numbers = numbers_of(record)
        for name in numbers.keys() - self._defined:
            # Explicit names: of two globs that match, which one wins varies from run to run.
            self.run.define_metric(name, step_metric=EPOCH)
            self._defined.add(name)
        self.run.log(numbers)


def numbers_of(record: Record) -> dict[str, float]:
    """The numbers of a record by dashboard name: network/..., ntk/..., conjugate/..., and the epoch."""
    numbers: dict[str, float] = {EPOCH: record.epoch}
    numbers |= {f"network/{column}": getattr(record, column) for column in NETWORK_COLUMNS}
    for kernel in record.kernels:
        numbers |= {f"{kernel.kernel}/{name}": value for name, value in _scalars(kernel).items()}
    return numbers


def _scalars(kernel: KernelRecord) -> dict[str, float]:
    values = dataclasses.asdict(kernel)
    values |= values.pop("resources")
    return {name: float(value) for name, value in values.items() if isinstance(value, (int, float))}


@contextmanager
def mirror(options: Wandb, run_dir: Path, *, run_id: str, sweep: str, config: dict[str, Any]) -> Iterator[Mirror]:
    """A W&B run for the length of the block; it is finished, and marked failed on an exception, when the block ends."""
    if options.mode == "disabled":
        yield _Silent()
        return
    import wandb

    run = wandb.init(
        mode=cast(Literal["online", "offline"], options.mode),
        project=options.project,
        entity=options.entity,
        dir=run_dir,
        group=sweep,
        name=run_id,
        id=f"{sweep}-{run_id}",
        config=config,
        reinit="finish_previous",
        settings=wandb.Settings(console="off", silent=True),
    )
    # Not `with run`: on an exception it prints a traceback of its own.
    try:
        yield _WandbMirror(run)
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()
