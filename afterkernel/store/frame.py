"""All records below a directory as one data frame."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afterkernel.errors import UserError
from afterkernel.store.files import read_record, record_paths
from afterkernel.store.record import KernelRecord, Record, Resources

if TYPE_CHECKING:
    import pandas as pd

SORT = ["dataset", "arch", "learning_rate", "seed", "epoch", "kernel", "minus", "plus", "sweep"]
_TIES = ["run_id", "evaluation_id"]
_DTYPES = {float: "float64", int: "int64", bool: "bool", str: "str"}
_NULLABLE = {float: "Float64", int: "Int64", bool: "boolean", str: "string"}


def columns() -> dict[str, str]:
    """The columns of the frame, in order, each with its pandas dtype: every scalar that a record holds."""
    rest = {name: dtype for name, dtype in _scalars(Record).items() if name == "schema_version"}
    first = {name: dtype for name, dtype in _scalars(Record).items() if name != "schema_version"}
    return first | _scalars(KernelRecord) | _scalars(Resources) | rest


def read_records(directory: Path | str) -> list[Record]:
    """Every record below a directory, in the order of their paths.

    UserError where there is none, where one can't be read, or where two files hold the same one.
    """
    paths = record_paths(directory)
    if not paths:
        raise UserError(f"{directory} holds no records: no file {Path('records', 'epoch=*.json')} lies below it.")
    seen: dict[tuple[str, str, str, int], Path] = {}
    records = []
    for path in paths:
        record = read_record(path)
        key = (record.sweep, record.run_id, record.evaluation_id, record.epoch)
        if key in seen:
            raise UserError(f"{seen[key]} and {path} hold the same record: remove one, or name a smaller directory.")
        seen[key] = path
        records.append(record)
    return records


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """The records as a data frame, one row a snapshot and kernel, with the columns and dtypes of `columns()`."""
    import pandas as pd

    rows = [_row(record, kernel) for record in records for kernel in record.kernels]
    dtypes = columns()
    frame = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=dtype) for name, dtype in dtypes.items()})
    return frame.sort_values(SORT + _TIES, kind="stable", ignore_index=True)


def results(directory: Path | str) -> pd.DataFrame:
    """All results below a directory (a run, a sweep, or all sweeps): one row a snapshot and kernel.

    The NTK at initialisation is the row with kernel "ntk" and epoch 0; the after kernel the rows behind it. Errors are
    fractions in [0, 1], times seconds, memory bytes. UserError where there are no records or one can't be read.
    """
    return to_frame(read_records(directory))


def _row(record: Record, kernel: KernelRecord) -> dict[str, Any]:
    return {**vars(record), **vars(kernel), **vars(kernel.resources)}


def _scalars(cls: type[Any]) -> dict[str, str]:
    hints = typing.get_type_hints(cls)
    found: dict[str, str] = {}
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        options = [hint]
        if typing.get_origin(hint) in (types.UnionType, typing.Union):
            options = [option for option in typing.get_args(hint) if option is not types.NoneType]
        if len(options) == 1 and options[0] in _DTYPES:
            found[field.name] = (_DTYPES if options[0] is hint else _NULLABLE)[options[0]]
    return found
