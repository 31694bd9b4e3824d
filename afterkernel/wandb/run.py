"""One W&B run per run, grouped by sweep, finished inside the job.

By default it is offline: the files are in RUN_DIR/wandb and `wandb-sync` uploads them. Each file is complete, so the
last one of a resumed run replaces those before it; online, a run that starts again under its id replaces its data on
the server in the same way. The records are authoritative.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Any, Literal

from afterkernel.records.logged_run import LoggedRun
from afterkernel.records.metrics import EPOCH, PROGRESS, facts_of, numbers_of
from afterkernel.records.record import Record
from afterkernel.records.training_curve import TrainingPoint
from afterkernel.wandb.account import disable_error_reports, reason
from afterkernel.wandb.describe import notes, tags
from afterkernel.wandb.options import Wandb
from afterkernel.wandb.overview import OVERVIEW, overview_of
from afterkernel.wandb.shared import Console, log_code, log_files, repository

log = logging.getLogger(__name__)
# Here, since this module is imported where W&B is used: a program that only imports afterkernel keeps its environment.
disable_error_reports()

# Job types of W&B runs: a run of the sweep, and the report of the sweep.
RUN, REPORT = "run", "report"
INIT_TIMEOUT_S = 30.0
# How long the end of a run may wait for an upload; what is not uploaded then stays on disk.
FINISH_TIMEOUT_S = 600.0


class WandbRun:
    """A W&B run in progress. Its methods raise what W&B raises."""

    title = "W&B"

    def __init__(self, options: Wandb, logged: LoggedRun) -> None:
        self.options, self.logged = options.shared(), logged
        self._defined: set[str] = set()
        self._of_records: set[str] = set()
        self.run = _start(self.options, logged)
        self._console = Console(self.run, logged.local_paths) if self.options.console else None
        if self.options.code:
            log_code(self.run, logged.config.get("plugins", []))
        self._define(EPOCH, keeps_last=False)
        for metric, copy in OVERVIEW.items():
            self._define(copy, keeps_last=metric.startswith("training/"))
        self.run.summary.update({"state": "training"})

    def log_point(self, point: TrainingPoint) -> None:
        """Log a point of the training curve against its epoch."""
        self._log(point.numbers(), keeps_last=True)

    def log_record(self, record: Record, progress: float) -> None:
        """Log one snapshot against its epoch; the numbers of the last one are the run's summary."""
        numbers = numbers_of(record) | {PROGRESS: progress}
        if not self._of_records:
            self.run.config.update(facts_of(record))
        # No summary by W&B: it would keep a number, such as a margin, that a later snapshot does not have.
        logged = self._log(numbers, keeps_last=False)
        self._of_records |= logged.keys()
        state = {"final": record.final, "state": "evaluating"}
        self.run.summary.update(dict.fromkeys(self._of_records) | logged | state)
        if self.options.artifacts != "none":
            files = self.logged.files_of(record)
            log_files(self.run, self.logged.run_dir, record, files, self.options.artifacts)

    def end(self, state: str, error: str | None = None) -> None:
        """Finish the W&B run as "finished", or as "failed" or "interrupted" with a reason."""
        self.run.summary.update({"state": state} | ({} if error is None else {"error": error}))
        self._close_console()
        self.run.finish(exit_code=0 if state == "finished" else 1)

    def abandon(self) -> None:
        """End W&B's service, which may be the cause of an error."""
        self._close_console()
        end_service()

    def _close_console(self) -> None:
        if self._console is not None:
            self._console.close()

    def _log(self, numbers: dict[str, float], *, keeps_last: bool) -> dict[str, float]:
        numbers = overview_of(numbers) | numbers
        for name in numbers:
            self._define(name, keeps_last=keeps_last)
        self.run.log(numbers)
        return numbers

    def _define(self, name: str, *, keeps_last: bool) -> None:
        """Define a metric by its name: if two globs match, which one wins varies from run to run."""
        if name not in self._defined:
            self._defined.add(name)
            options = {} if name == EPOCH else {"step_metric": EPOCH}
            self.run.define_metric(name, **options if keeps_last else options | {"summary": "none"})


def end_service() -> None:
    """End W&B's service process, if it is alive: its files are complete then, and the next run starts another."""
    with contextlib.suppress(Exception, SystemExit):
        import wandb

        wandb.teardown()
    os.environ.pop("WANDB_SERVICE", None)


def _start(options: Wandb, logged: LoggedRun) -> Any:
    import wandb

    def init(mode: Literal["online", "offline"]) -> Any:
        return wandb.init(
            mode=mode,
            # Of these W&B ignores project, entity and id in a run that an agent of a W&B sweep has started.
            project=options.project,
            entity=options.entity,
            id=f"{logged.sweep}-{logged.name}",
            dir=logged.run_dir,
            group=logged.sweep,
            name=logged.name,
            job_type=RUN,
            tags=tags(logged.config),
            notes=notes(logged.config),
            config=logged.config,
            reinit="finish_previous",
            settings=settings(share_git=options.git),
        )

    if options.effective_mode() == "online":
        try:
            return init("online")
        except Exception as error:
            log.warning("W&B can't be reached (%s): this run is logged offline; wandb-sync uploads it", reason(error))
    return init("offline")


def settings(*, share_git: bool = False) -> Any:
    """Settings of all our W&B runs: nothing is printed, and nothing about this machine but its load is sent."""
    import wandb

    # W&B's metadata contain the program's arguments and folders.
    return wandb.Settings(
        console="off",
        silent=True,
        init_timeout=INIT_TIMEOUT_S,
        finish_timeout=FINISH_TIMEOUT_S,
        finish_timeout_raises=True,
        host="-",
        disable_code=True,
        x_disable_meta=True,
        x_save_requirements=False,
        **(repository() if share_git else {"disable_git": True}),
    )
