"""Results as data frames: all of them, those that a condition picks, or whatever a query asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from afterkernel.errors import UserError
from afterkernel.store import engine
from afterkernel.store.columns import COLUMNS, FRAME, SEPARATOR
from afterkernel.store.record import KernelRecord, Record
from afterkernel.store.records import files_with_records

if TYPE_CHECKING:
    import pandas as pd

_SORT = ["dataset", "arch", "learning_rate", "seed", "epoch", "kernel", "minus", "plus", "sweep"]
_ORDER = [*_SORT, "run_id", "evaluation_id"]


def results(directory: Path | str, where: str | None = None) -> pd.DataFrame:
    """All results below a directory (a run, a sweep, or all sweeps): one row a snapshot and kernel.

    The NTK at initialisation is the row with kernel "ntk" and epoch 0; the after kernel the rows behind it. Errors are
    fractions in [0, 1], times seconds, memory bytes. `where` is an SQL condition for the rows to keep, such as
    "epoch = 5 and kernel = 'ntk'"; a missing value fits nothing. UserError where there are no records, one can't be
    read, or the condition is none.
    """
    paths = files_with_records(directory)
    query = f"SELECT {', '.join(FRAME)} FROM results"
    if where is not None:
        _check_condition(where)
        query += f" WHERE ({where}\n)"
    frame = _ask(paths, f"{query} ORDER BY {', '.join(_ORDER)}", lambda why: _bad_condition(where or "", why))
    return frame.astype(FRAME)


def sql(directory: Path | str, query: str) -> pd.DataFrame:
    """What a SELECT over the table `results` gives: one row a snapshot and kernel of all runs below a directory.

    The table has the columns of `results` and, as JSON text, `config` and `provenance`, as in
    "select arch, avg(svm_test_error) from results where config->>'$.training.augment' = 'true' group by arch". The
    language is DuckDB's. Only columns that the query needs are read, and it reaches no file, no network and no
    variable. UserError where there are no records, one can't be read, or the query is none.
    """

    def bad(why: str) -> UserError:
        return UserError(f"Can't answer {query!r}: {why}; {_KNOWN}.")

    return _typed(_ask(files_with_records(directory), query, bad))


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """The records as `results` gives them."""
    import pandas as pd

    rows = [_row(record, kernel) for record in records for kernel in record.kernels]
    frame = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=dtype) for name, dtype in FRAME.items()})
    return frame.sort_values(_ORDER, kind="stable", ignore_index=True)


def check_columns(frame: pd.DataFrame, names: Sequence[str]) -> None:
    """UserError, with the columns there are, for the first name that is none of them."""
    for name in names:
        if name not in frame.columns:
            raise UserError(f"{name} is not a column: choose from {', '.join(frame.columns)}.")


_KNOWN = f"the table is results, with the columns {', '.join(FRAME)}, config, provenance"


def _ask(paths: Sequence[Path], query: str, bad: Callable[[str], UserError]) -> pd.DataFrame:
    import duckdb

    try:
        names = engine.needed(query)
    except duckdb.Error as error:
        raise bad(engine.reason(error)) from error
    for wanted in (names, None):
        with engine.load(paths, wanted) as results:
            try:
                return results.execute(query).df()
            except duckdb.Error as error:
                # Should a plan ever name too few columns, the query finds one missing, and all will do.
                if wanted is None or not isinstance(error, duckdb.BinderException):
                    raise bad(engine.reason(error)) from error
    raise AssertionError("unreachable")


def _check_condition(where: str) -> None:
    import duckdb

    try:
        kind = engine.type_of(where)
    except duckdb.Error as error:
        raise _bad_condition(where, engine.reason(error)) from error
    if kind != "BOOLEAN":
        raise _bad_condition(where, "it does not say yes or no for each row")


def _bad_condition(where: str, why: str) -> UserError:
    return UserError(f"Can't pick rows by {where!r}: {why}; the columns are {', '.join(FRAME)}.")


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    # Floats with gaps as in `results`: missing is NA.
    for name in [column for column in frame.columns if str(frame[column].dtype) == "float64"]:
        if frame[name].isna().any():
            frame[name] = frame[name].astype("Float64")
    return frame


def _row(record: Record, kernel: KernelRecord) -> dict[str, object]:
    row = {**vars(record), **vars(kernel), **vars(kernel.resources)}
    return row | {column.name: SEPARATOR.join(row[column.name]) for column in COLUMNS if column.kind is tuple}
