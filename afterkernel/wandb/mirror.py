"""Weights & Biases as a mirror of the records: one W&B run per run, grouped by sweep, finished inside the job.

By default it is offline: the files are in RUN_DIR/wandb and `wandb-sync` uploads them. Each file is complete, so the
last one of a resumed run replaces those before it. The records are authoritative: if W&B fails, the run continues
without it.
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
from afterkernel.records.glossary import BY_NAME
from afterkernel.records.record import KernelRecord, Record
from afterkernel.wandb.account import reason
from afterkernel.wandb.describe import notes, tags
from afterkernel.wandb.redact import without_paths

log = logging.getLogger(__name__)

EPOCH = "epoch"
# Job types of W&B runs: a run of the sweep, and the report of the sweep.
RUN, REPORT = "run", "report"
# Columns of a record, apart from its kernels: those logged as metrics, and those that are facts about the run.
_RECORD_TERMS = [BY_NAME[field.name] for field in dataclasses.fields(Record) if field.name in BY_NAME]
NETWORK_COLUMNS = [term.name for term in _RECORD_TERMS if term.topic in ("network", "cost")]
FACTS = [term.name for term in _RECORD_TERMS if term.topic == "run" and term.name not in (EPOCH, "final")]
INIT_TIMEOUT_S = 30.0
# From the least that is sent to the most.
_MODES = ("disabled", "offline", "online")


@dataclasses.dataclass
class Wandb:
    """Weights & Biases."""

    mode: str = option(
        "offline",
        "offline needs no account; online uploads during the run; disabled logs nothing; WANDB_MODE can only "
        "restrict it",
        choices=("offline", "online", "disabled"),
        affects_results=False,
    )
    project: str = option("afterkernel", "W&B project of the runs", affects_results=False)
    entity: str | None = option(
        None, "user or team that owns the project; your default one by default", affects_results=False
    )

    def effective_mode(self) -> str:
        """Whichever of `mode` and the environment's WANDB_MODE sends less: disabled, offline, then online.

        Raises UserError for a WANDB_MODE that is none of these.
        """
        variable = os.environ.get("WANDB_MODE", "")
        wanted = {"": self.mode, "dryrun": "offline", "run": "online"}.get(variable.lower(), variable.lower())
        if wanted not in _MODES:
            raise UserError(f"WANDB_MODE={variable} is not known: set it to online, offline or disabled, or unset it.")
        return min(self.mode, wanted, key=_MODES.index)


@dataclasses.dataclass
class Logger:
    """Services to which numbers are sent, in addition to the records."""

    wandb: Wandb = option(Wandb, "Weights & Biases")


@runtime_checkable
class Mirror(Protocol):
    """Receives every record as it is written."""

    def log(self, record: Record) -> None:
        """Send one record."""


class _NoMirror:
    def log(self, record: Record) -> None:
        """Send nothing."""


class _WandbMirror:
    """A W&B run that never raises: its first failure is one warning, after which it sends nothing."""

    def __init__(self, start: Callable[[], Any]) -> None:
        self._defined: set[str] = set()
        self.run = None
        self.run = self._attempt(start)

    def log(self, record: Record) -> None:
        """Log one snapshot against its epoch; the numbers of the last one are the run's summary."""
        self._attempt(lambda: self._log(record))

    def end(self, state: str, error: str | None = None) -> None:
        """Finish the W&B run as "finished", or as "failed" or "interrupted" with a reason."""
        self._attempt(lambda: self._end(state, error))

    def _log(self, record: Record) -> None:
        if self.run is None:
            return
        numbers = numbers_of(record)
        if not self._defined:
            self.run.config.update(facts_of(record))
        for name in sorted(numbers.keys() - self._defined):
            # Explicit names: if two globs match, which one wins varies from run to run. No summary by W&B: it would
            # keep a number, such as a margin, that a later snapshot does not have.
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
        # An error of W&B does not affect the run itself.
        except Exception as error:
            log.warning("W&B logging stopped for this run (%s); the records are complete", reason(error))
            self.run = None
            end_service()
            return None


def end_service() -> None:
    """End W&B's service process, if it is alive: its files are complete then, and the next run starts another."""
    with contextlib.suppress(Exception, SystemExit):
        import wandb

        wandb.teardown()
    os.environ.pop("WANDB_SERVICE", None)


def numbers_of(record: Record) -> dict[str, float]:
    """The numbers of a record by the names of W&B metrics: epoch, network/NAME and KERNEL/NAME."""
    found = {f"network/{column}": getattr(record, column) for column in NETWORK_COLUMNS}
    numbers: dict[str, float] = ({} if record.epoch is None else {EPOCH: record.epoch}) | {
        name: one for name, one in found.items() if one is not None
    }
    for kernel in record.kernels:
        numbers |= {f"{kernel.kernel}/{name}": value for name, value in _scalars(kernel).items()}
    return numbers


def facts_of(record: Record) -> dict[str, Any]:
    """Facts about a run that are no options, for the W&B run's config: sizes, versions, provenance."""
    provenance = {name: value for name, value in record.provenance.items() if name != "command"}
    return {"facts": {name: getattr(record, name) for name in FACTS} | {"provenance": provenance}}


def _scalars(kernel: KernelRecord) -> dict[str, float]:
    values = dataclasses.asdict(kernel)
    values |= values.pop("resources") | values.pop("measures")
    return {name: float(value) for name, value in values.items() if isinstance(value, (int, float))}


@contextlib.contextmanager
def mirror(
    options: Wandb, run_dir: Path, *, name: str, sweep: str, config: dict[str, Any], local_paths: Iterable[str] = ()
) -> Iterator[Mirror]:
    """A W&B run that is finished at the end of the `with` block, and marked as failed by an exception.

    `config` is the public part of the configuration, as plain data. The W&B run's id is SWEEP-NAME, also when the run
    is resumed. `local_paths` are removed from an error's message before W&B gets it.
    """
    if options.effective_mode() == "disabled":
        yield _NoMirror()
        return
    run = _WandbMirror(lambda: _start(options, run_dir, name=name, sweep=sweep, config=config))
    try:
        yield run
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
            run.end("interrupted", "interrupted before its end")
        else:
            run.end("failed", without_paths(reason(error), [str(run_dir), *local_paths]))
        raise
    run.end("finished")


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
            log.warning("W&B can't be reached (%s): this run is logged offline; wandb-sync uploads it", reason(error))
    return init("offline")


def settings() -> Any:
    """Settings of all our W&B runs: nothing is printed, and nothing about this machine is sent."""
    import wandb

    # W&B's metadata contain the program's arguments and folders.
    return wandb.Settings(
        console="off",
        silent=True,
        init_timeout=INIT_TIMEOUT_S,
        disable_code=True,
        disable_git=True,
        x_disable_meta=True,
    )
