"""Results as data frames: all rows, those that meet a condition, or the result of a query."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from afterkernel.errors import UserError
from afterkernel.records import engine
from afterkernel.records.columns import FRAME, MEASURES_COLUMN, rows
from afterkernel.records.config_file import warn_if_damaged
from afterkernel.records.record import Record
from afterkernel.records.store import find_runs, is_exported, read_exported_runs
from afterkernel.text import natural_key

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

_SORT = ["dataset", "arch", "learning_rate", "seed", "epoch", "step", "kernel", "minus", "plus", "classes", "sweep"]
_ORDER = [*_SORT, "run_id", "evaluation_id"]


def results(directory: Path | str, where: str | None = None) -> pd.DataFrame:
    """All results below a directory (a run, a sweep, or all sweeps): one row per snapshot and kernel.

    The directory may be a file that `results --export` wrote, here and in `sql`.
    The NTK at initialisation is the row with kernel "ntk" and epoch 0; the after kernel the rows of later epochs.
    Errors are fractions in [0, 1], times seconds, memory bytes. After the fixed columns come the measures whose names
    depend on options or plugins, such as eigenvalue_1 or shift_2px_invariance. `where` is an SQL condition for the rows
    to keep, such as "epoch = 5 and kernel = 'ntk'" or "eigenvalue_1 > 0.5"; a missing value meets no condition.
    UserError if there are no records, or if the condition is invalid.
    """
    start = f"Can't read {directory}" if where is None else f"Can't pick rows by {where!r}"
    query = f"SELECT {', '.join(FRAME)} FROM results"
    with (
        _explaining_errors(start, where or "", _LIST if where else "", engine.BEFORE),
        _open_results(directory) as table,
    ):
        if where is not None:
            if engine.type_of(table, where) != "BOOLEAN":
                raise UserError(f"{start}: it is not true or false for each row.")
            query += f" WHERE ({where}\n)"
        return _with_measure_columns(engine.select(table, f"{query} ORDER BY {', '.join(_ORDER)}").astype(FRAME))


def sql(directory: Path | str, query: str) -> pd.DataFrame:
    """The result of a SELECT over the table `results`: one row per snapshot and kernel of all runs below a directory.

    The table has the columns of `results` and, as JSON text, `measures`, `config` and `provenance`, as in
    "select arch, avg(svm_test_error) from results where config->>'$.training.augment' = 'true' group by arch". The
    language is DuckDB's. Only the columns that a query needs are read; it has no access to files, network or
    variables. UserError if there are no records, or if the query is invalid.
    """
    start, hint = f"Can't answer {query!r}", f"the table is results, and {_LIST}"
    with _explaining_errors(start, query, hint), _open_results(directory) as table:
        frame = engine.select(table, query)
    for name in frame.columns[frame.isna().any() & (frame.dtypes == "float64")]:
        frame[name] = frame[name].astype("Float64")  # as in `results`: missing is NA
    return frame


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """The data frame of `results` for records in memory."""
    import pandas as pd

    found = [row for record in records for row in rows(record, FRAME)]
    frame = pd.DataFrame({name: pd.Series([row[name] for row in found], dtype=dtype) for name, dtype in FRAME.items()})
    return _with_measure_columns(frame.sort_values(_ORDER, kind="stable", ignore_index=True))


def _with_measure_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with `measures` replaced by one column per name in it."""
    import pandas as pd

    parsed = [json.loads(text) for text in frame.pop(MEASURES_COLUMN)]
    names = sorted({name for numbers in parsed for name in numbers}, key=natural_key)
    found = {name: pd.array([numbers.get(name) for numbers in parsed], dtype="Float64") for name in names}
    return pd.concat([frame, pd.DataFrame(found, index=frame.index)], axis="columns")


def check_columns(frame: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise UserError, with similar names, for the first name that is not a column."""
    for name in names:
        if name not in frame.columns:
            raise UserError(
                f"{name} is not a column{_similar(name, frame.columns)}; the first line of --csv lists all."
            )


_LIST = '--sql "describe results" lists the columns'


def _similar(name: str, columns: Iterable[str]) -> str:
    """The columns with the most similar names, as the end of a sentence; empty if none is close."""
    found = difflib.get_close_matches(name.lower(), list(columns), n=3, cutoff=0.6)
    return f", but {', '.join(found)} {'is' if len(found) == 1 else 'are'}" if found else ""


@contextmanager
def _explaining_errors(start: str, words: str, hint: str, before: str = "") -> Iterator[None]:
    """Turn errors of the engine into UserErrors; in its query the user's text, `words`, follows `before`."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        message, position = engine.message_of(error)
        if isinstance(error, duckdb.ParserException):
            reason, hint = _lower_first(" ".join(message.split())), ""
            if position is not None:  # in bytes; it may be past the end of the user's text
                place = len(words.encode()[: position - len(before)].decode(errors="ignore")) + 1
                size = max(len(words), 1)
                reason += f" (character {min(place, size)} of {size})"
        elif found := re.search(r'Referenced column "(.*?)" (?:was )?not found|have a column named "(.*?)"', message):
            name = found[1] or found[2]
            like = _similar(name, [*FRAME, "config", "provenance"])
            reason = f"{name} is not a column (write text in single quotes){like}"
        else:
            reason = _lower_first((message.strip().splitlines() or [type(error).__name__])[0].rstrip("!."))
        raise UserError(f"{start}: {reason}{hint and '; '}{hint}.") from error


def _lower_first(sentence: str) -> str:
    """The sentence with a small first letter, unless it starts with a word in capitals."""
    return sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]


@contextmanager
def _open_results(directory: Path | str) -> Iterator[duckdb.DuckDBPyConnection]:
    """The table `results` of the records below a directory; damaged configurations are reported."""
    if is_exported(directory):
        with engine.open_results(read_exported_runs(Path(directory)), directory) as table:
            yield table
        return
    runs = find_runs(directory)
    for run in runs:
        if run.is_run and run.has_config:
            warn_if_damaged(run)
    with engine.open_results([run for run in runs if run.listing], directory) as table:
        yield table
