"""The inputs of a dashboard: the records of one sweep without local paths, and its place on W&B."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from afterkernel.config.public import public_command, public_record
from afterkernel.config.schema import public
from afterkernel.errors import UserError
from afterkernel.records.metrics import LIVE, numbers_of
from afterkernel.records.record import Record
from afterkernel.records.store import read_distinct_runs
from afterkernel.report.grouping import AUGMENT, RATE, Options, complete, flatten, separating
from afterkernel.report.runs import SweepRuns, read_runs
from afterkernel.wandb.options import Wandb
from afterkernel.wandb.redact import without_paths

# Options by which groups of seeds are nested, outermost first; every other separating option comes after.
GROUPING = ("dataset.name", "dataset.minus", "dataset.plus", "arch.name", AUGMENT, RATE)


@dataclasses.dataclass(frozen=True)
class DashboardInputs:
    """One sweep: its records and runs, the W&B project of its runs, and what their dashboard shows.

    `metrics` are the names that its runs log; `grouping` the options that separate groups of seeds; `n_not_logged` the
    number of runs that are not sent to W&B.
    """

    sweep: str
    records: list[Record]
    runs: SweepRuns
    project: str
    entity: str | None
    metrics: tuple[str, ...]
    grouping: tuple[str, ...]
    n_not_logged: int


def read(directory: Path, project: str | None, entity: str | None) -> DashboardInputs:
    """The sweep in a directory; `project` and `entity` replace those of its runs.

    Raises UserError if the directory is one run, holds no records or those of several sweeps, or if its runs were
    logged to several projects.
    """
    folders = read_distinct_runs(directory)
    if any(run.path == directory for run in folders):
        raise UserError(f"{directory} is one run, and a dashboard shows a sweep: name the folder that holds it.")
    records = list(chain.from_iterable(run.records for run in folders))
    sweeps = sorted({record.sweep for record in records})
    if len(sweeps) > 1:
        shown = ", ".join(sweeps[:3]) + (", ..." if len(sweeps) > 3 else "")
        raise UserError(f"{directory} holds {len(sweeps)} sweeps ({shown}): name the folder of one of them.")
    local_paths = [str(directory), str(directory.resolve())]
    runs = [
        dataclasses.replace(
            run,
            options=public_command(run.options),
            failure=None if run.failure is None else without_paths(run.failure, local_paths),
        )
        for run in read_runs(directory, folders).runs
    ]
    logged = {record.run_id: _wandb_options(record) for record in records}
    return DashboardInputs(
        sweep=sweeps[0],
        records=[public_record(record, local_paths) for record in records],
        runs=SweepRuns(runs),
        project=project or str(_only(directory, "project", [one.project for one in logged.values()])),
        entity=entity or _only(directory, "entity", [one.entity for one in logged.values()]),
        metrics=(*LIVE, *dict.fromkeys(name for record in records for name in numbers_of(record))),
        grouping=grouping(records),
        n_not_logged=sum(one.mode == "disabled" for one in logged.values()),
    )


def _wandb_options(record: Record) -> Wandb:
    stored = record.config.get("logger", {}).get("wandb", {})
    known = {field.name for field in dataclasses.fields(Wandb)}
    return Wandb(**{name: value for name, value in stored.items() if name in known})


def _only(directory: Path, name: str, values: Sequence[str | None]) -> str | None:
    different = sorted({str(value) for value in values})
    if len(different) > 1:
        raise UserError(
            f"the runs of {directory} name several W&B {'projects' if name == 'project' else 'entities'} "
            f"({', '.join(different)}): choose one with --{name}."
        )
    return values[0]


def grouping(records: Sequence[Record]) -> tuple[str, ...]:
    """The options that separate groups of seeds, outermost first."""
    # Within a data set and an architecture: options that only one kind has say no more than its name.
    kinds: dict[tuple[str, str], list[Options]] = {}
    for record in records:
        kinds.setdefault((record.dataset, record.arch), []).append(flatten(public(record.config)))
    others = {name for configs in kinds.values() for name in separating(complete(configs), ignored=GROUPING)}
    labelled = any(record.config.get("dataset", {}).get("label") for record in records)
    return (GROUPING[0], *(["dataset.label"] if labelled else []), *GROUPING[1:], *sorted(others))
