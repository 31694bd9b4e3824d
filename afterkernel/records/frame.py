"""Results as data frames: all of them, those that a condition picks, or whatever a query asks."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from afterkernel.errors import UserError
from afterkernel.records import engine
from afterkernel.records.columns import COLUMNS, FRAME, MEASURES, SEPARATOR
from afterkernel.records.config_file import check_config
from afterkernel.records.record import KernelRecord, Record
from afterkernel.records.store import check_any, find_runs

if TYPE_CHECKING:
    import pandas as pd

_SORT = ["dataset", "arch", "learning_rate", "seed", "epoch", "kernel", "minus", "plus", "sweep"]
_ORDER = [*_SORT, "run_id", "evaluation_id"]


def results(directory: Path | str, where: str | None = None) -> pd.DataFrame:
    """All results below a directory (a run, a sweep, or all sweeps): one row per snapshot and kernel.

    The NTK at initialisation is the row with kernel "ntk" and epoch 0; the after kernel the rows of later epochs.
    Errors are fractions in [0, 1], times seconds, memory bytes. After the fixed columns come the measures whose names
    depend on options, such as eigenvalue_1 or shift_2px_invariance; in SQL: measures->>'$.eigenvalue_1'. `where` is an
    SQL condition for the rows to keep, such as "epoch = 5 and kernel = 'ntk'"; a missing value fits nothing. UserError
    where there are no records, one can't be read, or the condition is none.
    """
    query = f"SELECT {', '.join(FRAME)} FROM results"
    if where is not None:
        _check_condition(where)
        query += f" WHERE ({where}\n)"
    frame = _ask(directory, f"{query} ORDER BY {', '.join(_ORDER)}", lambda error: _bad_condition(where or "", error))
    return _unfolded(frame.astype(FRAME))


def sql(directory: Path | str, query: str) -> pd.DataFrame:
    """What a SELECT over the table `results` gives: one row a snapshot and kernel of all runs below a directory.

    The table has the columns of `results` and, as JSON text, `config` and `provenance`, as in
    "select arch, avg(svm_test_error) from results where config->>'$.training.augment' = 'true' group by arch". The
    language is DuckDB's. Only columns that the query needs are read, and it reaches no file, no network and no
    variable. UserError where there are no records, one can't be read, or the query is none.
    """

    def bad(error: Exception) -> UserError:
        why = engine.query_fault(error, query) or f"{_reason(error)}; the table is results, and {_LIST}"
        return UserError(f"Can't answer {query!r}: {why}.")

    return _typed(_ask(directory, query, bad))


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """The records as `results` gives them."""
    import pandas as pd

    rows = [_row(record, kernel) for record in records for kernel in record.kernels]
    frame = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=dtype) for name, dtype in FRAME.items()})
    return _unfolded(frame.sort_values(_ORDER, kind="stable", ignore_index=True))


def _unfolded(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with a column for each name in `measures`, in its place."""
    import pandas as pd

    parsed = [json.loads(text) for text in frame.pop(MEASURES)]
    names = sorted({name for numbers in parsed for name in numbers}, key=_natural)
    found = {name: pd.array([numbers.get(name) for numbers in parsed], dtype="Float64") for name in names}
    return pd.concat([frame, pd.DataFrame(found, index=frame.index)], axis="columns")


def _natural(name: str) -> list[tuple[int, str]]:
    """Numbers within names in the order of numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def check_columns(frame: pd.DataFrame, names: Sequence[str]) -> None:
    """UserError, with the columns of names like it, for the first name that is none of them."""
    for name in names:
        if name not in frame.columns:
            raise UserError(f"{name} is not a column{_like(name, frame.columns)}; the first line of --csv lists all.")


_LIST = '--sql "describe results" lists the columns'


def _like(name: str, columns: Iterable[str]) -> str:
    """The columns whose names are most like one, as the end of a sentence; empty where none is close."""
    found = difflib.get_close_matches(name.lower(), list(columns), n=3, cutoff=0.6)
    return f", but {', '.join(found)} {'is' if len(found) == 1 else 'are'}" if found else ""


def _reason(error: Exception) -> str:
    name = engine.unknown_column(error)
    like = "" if name is None else _like(name, [*FRAME, "config", "provenance"])
    return f"{engine.reason(error)}{like}"


def _ask(directory: Path | str, query: str, bad: Callable[[Exception], UserError]) -> pd.DataFrame:
    import duckdb

    found = find_runs(directory)
    for run in found:
        if run.is_run and run.has_config:
            check_config(run)
    runs = [run for run in found if run.listing]
    check_any(directory, runs)
    try:
        with engine.opened(runs, directory) as table:
            engine.check_select(table, query)
            return engine.interruptible(table, lambda: table.execute(query).df())
    except duckdb.Error as error:
        raise bad(error) from error


def _check_condition(where: str) -> None:
    import duckdb

    try:
        kind = engine.type_of(where)
    except duckdb.Error as error:
        raise _bad_condition(where, error) from error
    if kind != "BOOLEAN":
        raise UserError(f"Can't pick rows by {where!r}: it does not say yes or no for each row.")


def _bad_condition(where: str, error: Exception) -> UserError:
    why = engine.condition_fault(error, where) or f"{_reason(error)}; {_LIST}"
    return UserError(f"Can't pick rows by {where!r}: {why}.")


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    # Floats with gaps as in `results`: missing is NA.
    for name in [column for column in frame.columns if str(frame[column].dtype) == "float64"]:
        if frame[name].isna().any():
            frame[name] = frame[name].astype("Float64")
    return frame


def _row(record: Record, kernel: KernelRecord) -> dict[str, object]:
    row = {**vars(record), **vars(kernel), **vars(kernel.resources)}
    row |= {column.name: SEPARATOR.join(row[column.name]) for column in COLUMNS if column.kind is tuple}
    return row | {MEASURES: json.dumps(kernel.measures)}
