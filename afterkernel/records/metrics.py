"""The metrics that loggers get: the numbers of a record by name, and facts about its run."""

from __future__ import annotations

import dataclasses
from typing import Any

from afterkernel.records.glossary import BY_NAME, TRAINING_TERMS
from afterkernel.records.record import KernelRecord, Record

# The x-axis of all metrics.
EPOCH = "epoch"
# Columns of a record, apart from its kernels: those logged as metrics, and those that are facts about the run.
_RECORD_TERMS = [BY_NAME[field.name] for field in dataclasses.fields(Record) if field.name in BY_NAME]
# What loggers get of a run in progress, which is in no record.
PROGRESS = "evaluation/progress"
LIVE = (*(f"training/{term.name}" for term in TRAINING_TERMS), PROGRESS)
NETWORK_COLUMNS = [term.name for term in _RECORD_TERMS if term.topic in ("network", "cost")]
FACTS = [term.name for term in _RECORD_TERMS if term.topic == "run" and term.name not in (EPOCH, "final")]


def numbers_of(record: Record) -> dict[str, float]:
    """The numbers of a record by the names of metrics: epoch, network/NAME and KERNEL/NAME."""
    found = {f"network/{column}": getattr(record, column) for column in NETWORK_COLUMNS}
    numbers: dict[str, float] = ({} if record.epoch is None else {EPOCH: record.epoch}) | {
        name: one for name, one in found.items() if one is not None
    }
    for kernel in record.kernels:
        numbers |= {f"{kernel.kernel}/{name}": value for name, value in _scalars(kernel).items()}
    return numbers


def facts_of(record: Record) -> dict[str, Any]:
    """Facts about a run that are no options: sizes, versions, provenance."""
    provenance = {name: value for name, value in record.provenance.items() if name != "command"}
    return {"facts": {name: getattr(record, name) for name in FACTS} | {"provenance": provenance}}


def _scalars(kernel: KernelRecord) -> dict[str, float]:
    values = dataclasses.asdict(kernel)
    values |= values.pop("resources") | values.pop("measures")
    return {name: float(value) for name, value in values.items() if isinstance(value, (int, float))}
