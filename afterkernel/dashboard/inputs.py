"""What a dashboard is made of: the records of one sweep, without what stays on this machine, and where W&B has it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from afterkernel.config.schema import every_option, public
from afterkernel.errors import UserError
from afterkernel.records.record import Record
from afterkernel.records.store import read_distinct_runs
from afterkernel.report.runs import Run, Runs, read_runs
from afterkernel.report.sections import IDLE, differing, flatten
from afterkernel.wandb.mirror import Wandb, numbers_of
from afterkernel.wandb.redact import without_paths

# What tells groups of seeds apart, outermost first; every other option that varies comes after.
GROUPING = ("dataset.name", "dataset.minus", "dataset.plus", "arch.name", "training.augment", "training.lr")
# Options that name or place a run, say how fast it goes or when it is looked at: seeds are averaged over them.
_APART = ("seed", "logger", "launcher", "trainer", "sweep", "snapshot", "keep", "force")


@dataclasses.dataclass(frozen=True)
class Material:
    """One sweep: its records and runs, the W&B project of these, and what their dashboards need to know.

    `metrics` are the names that its runs log; `grouping` the options that tell groups of seeds apart; `n_silent` how
    many of its runs are not sent to W&B.
    """

    sweep: str
    records: list[Record]
    runs: Runs
    project: str
    entity: str | None
    metrics: tuple[str, ...]
    grouping: tuple[str, ...]
    n_silent: int


def read(directory: Path, project: str | None, entity: str | None) -> Material:
    """The sweep in a directory; `project` and `entity` replace those of its runs.

    UserError where the directory is one run, holds no records or those of several sweeps, or its runs were logged
    to several projects.
    """
    found_runs = read_distinct_runs(directory)
    if any(run.path == directory for run in found_runs):
        raise UserError(f"{directory} is one run, and a dashboard shows a sweep: name the folder that holds it.")
    records = list(chain.from_iterable(run.records for run in found_runs))
    runs = read_runs(directory, found_runs)
    sweeps = sorted({record.sweep for record in records})
    if len(sweeps) > 1:
        shown = ", ".join(sweeps[:3]) + (", ..." if len(sweeps) > 3 else "")
        raise UserError(f"{directory} holds {len(sweeps)} sweeps ({shown}): name the folder of one of them.")
    places = [str(directory), str(directory.resolve())]
    found = {record.run_id: _mirror(record) for record in records}
    return Material(
        sweep=sweeps[0],
        records=[_shared(record, places) for record in records],
        runs=Runs([_told(run, places) for run in runs.runs]),
        project=project or str(_one(directory, "project", [one.project for one in found.values()])),
        entity=entity or _one(directory, "entity", [one.entity for one in found.values()]),
        metrics=tuple(dict.fromkeys(name for record in records for name in numbers_of(record))),
        grouping=_grouping(records),
        n_silent=sum(one.mode == "disabled" for one in found.values()),
    )


def _mirror(record: Record) -> Wandb:
    stored = record.config.get("logger", {}).get("wandb", {})
    known = {field.name for field in dataclasses.fields(Wandb)}
    return Wandb(**{name: value for name, value in stored.items() if name in known})


def _one(directory: Path, name: str, values: Sequence[str | None]) -> str | None:
    different = sorted({str(value) for value in values})
    if len(different) > 1:
        raise UserError(
            f"the runs of {directory} name several W&B {'projects' if name == 'project' else 'entities'} "
            f"({', '.join(different)}): choose one with --{name}."
        )
    return values[0]


def _grouping(records: Sequence[Record]) -> tuple[str, ...]:
    # Options that only one kind of network or data has tell nothing that its name does not.
    kinds: dict[tuple[str, str], list[dict[str, str]]] = {}
    for record in records:
        kinds.setdefault((record.dataset, record.arch), []).append(flatten(public(record.config)))
    varying = {name for trees in kinds.values() for name in differing(trees)}
    others = {name for name in varying if name not in IDLE and name.split(".")[0] not in _APART}
    return (*GROUPING, *sorted(others - set(GROUPING)))


def _shared(record: Record, places: list[str]) -> Record:
    """A record as others may see it: no local path in its options, its command or its warnings."""
    provenance = dict(record.provenance)
    if "command" in provenance:
        provenance["command"] = command(provenance["command"])
    kernels = tuple(
        dataclasses.replace(kernel, warnings=tuple(without_paths(text, places) for text in kernel.warnings))
        for kernel in record.kernels
    )
    return dataclasses.replace(record, config=public(record.config), provenance=provenance, kernels=kernels)


def command(words: str | Sequence[str]) -> str:
    """A command as others may see it: values of private options are PATH, other paths cut to their last part."""
    private = [name for name, fields in every_option().items() if any(field.metadata["redact"] for field in fields)]
    names = "|".join(re.escape(name) for name in private)
    text = words if isinstance(words, str) else " ".join(map(str, words))
    # A value may hold spaces: it ends where the next option begins.
    text = re.sub(rf"(?<!\S)([+~]*(?:{names}))=.*?(?=\s[+~]*[\w./@]+=|\s--?\w|$)", r"\1=PATH", text)
    return " ".join(without_paths(word) for word in text.split(" "))


def _told(run: Run, places: list[str]) -> Run:
    failure = None if run.failure is None else without_paths(run.failure, places)
    return dataclasses.replace(run, options=command(run.options), failure=failure)
