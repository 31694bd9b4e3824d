"""Weights & Biases as a mirror of the store: one W&B run a job, grouped by sweep, finished inside the job.

Offline unless asked otherwise: the files lie in RUN_DIR/wandb and `wandb-sync` uploads them. Each of them is complete
in itself, so that the last one of a run, resumed or not, replaces those before it. The store holds the truth: where
W&B fails, a run goes on without it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from afterkernel.errors import UserError
from afterkernel.options import option
from afterkernel.records.record import KernelRecord, Record
from afterkernel.wandb.account import reason
from afterkernel.wandb.describe import notes, tags
from afterkernel.wandb.redact import without_paths

log = logging.getLogger(__name__)

EPOCH = "epoch"
# Job types: a job of the sweep, and what is made of all of them.
RUN, REPORT = "run", "report"
# Columns of a record that are drawn against epochs.
NETWORK_COLUMNS = tuple(
    field.name for field in dataclasses.fields(Record) if field.metadata.get("topic") in ("network", "cost")
)
FACTS = ("parameters", "width", "n_train", "n_test", "config_sha256", "commit", "device")
INIT_TIMEOUT_S = 30.0
_BY_REACH = ("disabled", "offline", "online")


@dataclasses.dataclass
class Wandb:
    """Weights & Biases."""

    mode: str = option(
        "offline",
        "offline needs no account; online mirrors as it runs; disabled logs nothing; WANDB_MODE may lower it",
        choices=("offline", "online", "disabled"),
        affects_results=False,
    )
    project: str = option("afterkernel", "project that the runs go to", affects_results=False)
    entity: str | None = option(
        None, "user or team that owns the project; your default one by default", affects_results=False
    )

    def effective_mode(self) -> str:
        """`mode`, or what the environment's WANDB_MODE says where that sends less: disabled, then offline, then online.

        Raises UserError for a WANDB_MODE that is none of these.
        """
        said = os.environ.get("WANDB_MODE", "")
        wanted = {"": self.mode, "dryrun": "offline", "run": "online"}.get(said.lower(), said.lower())
        if wanted not in _BY_REACH:
            raise UserError(f"WANDB_MODE={said} is not known: set it to online, offline or disabled, or unset it.")
        return min(self.mode, wanted, key=_BY_REACH.index)


@dataclasses.dataclass
class Logger:
    """Where numbers are mirrored, in addition to the records."""

    wandb: Wandb = option(Wandb, "Weights & Biases")


@runtime_checkable
class Mirror(Protocol):
    """Receives every record as it is written."""

    def log(self, record: Record) -> None:
        """Mirror one record."""


class _Silent:
    def log(self, record: Record) -> None:
        """Mirror nothing."""


class _WandbMirror:
    """A W&B run that never raises: its first failure is one warning, and from there on it mirrors nothing."""

    def __init__(self, start: Callable[[], Any]) -> None:
        self._defined: set[str] = set()
        self.run = None
        self.run = self._attempt(start)

    def log(self, record: Record) -> None:
        """Log one snapshot against its epoch; the last one's numbers are the run's summary."""
        self._attempt(lambda: self._log(record))

    def end(self, state: str, error: str | None = None) -> None:
        """Finish the W&B run: "finished", or "failed" or "interrupted" for this reason."""
        self._attempt(lambda: self._end(state, error))

    def _log(self, record: Record) -> None:
        if self.run is None:
            return
        numbers = numbers_of(record)
        if not self._defined:
            self.run.config.update(facts_of(record))
        for name in sorted(numbers.keys() - self._defined):
            # Explicit names: of two globs that match, which one wins varies from run to run. No summary of W&B's
            # own: it would keep a number, such as a margin, that a later snapshot does not have.
            options = {} if name == EPOCH else {"step_metric": EPOCH}
            self.run.define_metric(name, summary="none", **options)
            self._defined.add(name)
        self.run.log(numbers)
        self.run.summary.update(dict.fromkeys(self._defined) | numbers | {"final": record.final, "state": "running"})

    def _end(self, state: str, error: str | None) -> None:
        if self.run is None:
            return
        self.run.summary.update({"state": state} | ({} if error is None else {"error": error}))
        self.run.finish(exit_code=0 if state == "finished" else 1)

    def _attempt(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        # Whatever goes wrong with a mirror, the run itself is sound.
        except Exception as error:
            log.warning("W&B logging stopped for this run (%s); the records have all of it", reason(error))
            self.run = None
            let_go()
            return None


def let_go() -> None:
    """End W&B's service, or drop a dead one: what it writes is written, and the next run starts another."""
    with contextlib.suppress(Exception, SystemExit):
        import wandb

        wandb.teardown()
    os.environ.pop("WANDB_SERVICE", None)


def numbers_of(record: Record) -> dict[str, float]:
    """The numbers of a record by dashboard name: network/..., ntk/..., conjugate/..., the epoch and the step of SGD."""
    found = {f"network/{column}": getattr(record, column) for column in NETWORK_COLUMNS}
    numbers: dict[str, float] = {EPOCH: record.epoch} | {name: one for name, one in found.items() if one is not None}
    for kernel in record.kernels:
        numbers |= {f"{kernel.kernel}/{name}": value for name, value in _scalars(kernel).items()}
    return numbers


def facts_of(record: Record) -> dict[str, Any]:
    """What a record holds besides the options, for the W&B run's config: sizes, and where the numbers come from."""
    provenance = {name: value for name, value in record.provenance.items() if name != "command"}
    return {"facts": {name: getattr(record, name) for name in FACTS} | {"provenance": provenance}}


def _scalars(kernel: KernelRecord) -> dict[str, float]:
    values = dataclasses.asdict(kernel)
    values |= values.pop("resources") | values.pop("measures")
    return {name: float(value) for name, value in values.items() if isinstance(value, (int, float))}


@contextlib.contextmanager
def mirror(
    options: Wandb, run_dir: Path, *, name: str, sweep: str, config: dict[str, Any], places: Iterable[str] = ()
) -> Iterator[Mirror]:
    """A W&B run for the length of the block, finished when it ends, and marked failed if it ends by an exception.

    `config` is the public part of the configuration, as plain data. The W&B run's id is SWEEP-NAME, the same whenever
    the run is resumed. `places` are local paths that an error may name, and that are cut from what W&B gets.
    """
    if options.effective_mode() == "disabled":
        yield _Silent()
        return
    board = _WandbMirror(lambda: _start(options, run_dir, name=name, sweep=sweep, config=config))
    try:
        yield board
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
            board.end("interrupted", "interrupted before its end")
        else:
            board.end("failed", without_paths(reason(error), [str(run_dir), *places]))
        raise
    board.end("finished")


def _start(options: Wandb, run_dir: Path, *, name: str, sweep: str, config: dict[str, Any]) -> Any:
    import wandb

    def init(mode: Literal["online", "offline"]) -> Any:
        return wandb.init(
            mode=mode,
            project=options.project,
            entity=options.entity,
            dir=run_dir,
            group=sweep,
            name=name,
            id=f"{sweep}-{name}",
            job_type=RUN,
            tags=tags(config),
            notes=notes(config),
            config=config,
            reinit="finish_previous",
            settings=settings(),
        )

    if options.effective_mode() == "online":
        try:
            return init("online")
        except Exception as error:
            log.warning("W&B can't be reached (%s): this run is mirrored offline, for wandb-sync", reason(error))
    return init("offline")


def settings() -> Any:
    """W&B's settings for every run of ours: it prints nothing, and says nothing of this machine."""
    import wandb

    # W&B's own metadata hold the program's arguments and folders.
    return wandb.Settings(
        console="off",
        silent=True,
        init_timeout=INIT_TIMEOUT_S,
        disable_code=True,
        disable_git=True,
        x_disable_meta=True,
    )
