"""Results as data frames: all of them, those that a condition picks, or whatever a query asks."""

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
from afterkernel.records.config_file import check_config
from afterkernel.records.record import Record
from afterkernel.records.store import find_runs

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
    start = f"Can't read {directory}" if where is None else f"Can't pick rows by {where!r}"
    query = f"SELECT {', '.join(FRAME)} FROM results"
    with _refusing(start, where or "", _LIST if where else "", engine.BEFORE):
        if where is not None:
            if engine.type_of(where) != "BOOLEAN":
                raise UserError(f"{start}: it does not say yes or no for each row.")
            query += f" WHERE ({where}\n)"
        return _unfolded(_ask(directory, f"{query} ORDER BY {', '.join(_ORDER)}").astype(FRAME))


def sql(directory: Path | str, query: str) -> pd.DataFrame:
    """What a SELECT over the table `results` gives: one row per snapshot and kernel of all runs below a directory.

    The table has the columns of `results` and, as JSON text, `config` and `provenance`, as in
    "select arch, avg(svm_test_error) from results where config->>'$.training.augment' = 'true' group by arch". The
    language is DuckDB's. Only columns that the query needs are read, and it reaches no file, no network and no
    variable. UserError where there are no records, one can't be read, or the query is none.
    """
    with _refusing(f"Can't answer {query!r}", query, f"the table is results, and {_LIST}"):
        frame = _ask(directory, query)
    for name in frame.columns[frame.isna().any() & (frame.dtypes == "float64")]:
        frame[name] = frame[name].astype("Float64")  # as in `results`: missing is NA
    return frame


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """The records as `results` gives them."""
    import pandas as pd

    found = [row for record in records for row in rows(record)]
    frame = pd.DataFrame({name: pd.Series([row[name] for row in found], dtype=dtype) for name, dtype in FRAME.items()})
    return _unfolded(frame.sort_values(_ORDER, kind="stable", ignore_index=True))


def _unfolded(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with a column for each name in `measures`, in its place."""
    import pandas as pd

    parsed = [json.loads(text) for text in frame.pop(MEASURES_COLUMN)]
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


@contextmanager
def _refusing(start: str, words: str, hint: str, before: str = "") -> Iterator[None]:
    """UserError with what the engine says is wrong with the user's words; in its query they follow `before`."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        message, position = engine.message_of(error)
        if isinstance(error, duckdb.ParserException):
            reason, hint = _half(" ".join(message.split())), ""
            if position is not None:  # in bytes; at the end of the query it may lie beyond the user's words
                place = len(words.encode()[: position - len(before)].decode(errors="ignore")) + 1
                size = max(len(words), 1)
                reason += f" (character {min(place, size)} of {size})"
        elif found := re.search(r'Referenced column "(.*?)" (?:was )?not found|have a column named "(.*?)"', message):
            name = found[1] or found[2]
            like = _like(name, [*FRAME, "config", "provenance"])
            reason = f"{name} is not a column (write text in single quotes){like}"
        else:
            reason = _half((message.strip().splitlines() or [type(error).__name__])[0].rstrip("!."))
        raise UserError(f"{start}: {reason}{hint and '; '}{hint}.") from error


def _half(sentence: str) -> str:
    """A sentence as half of one, but for a word in capitals at its start."""
    return sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]


def _ask(directory: Path | str, query: str) -> pd.DataFrame:
    """What a SELECT gives, asked of the records below a directory; duckdb.Error where it is none."""
    runs = find_runs(directory)
    for run in runs:
        if run.is_run and run.has_config:
            check_config(run)
    with engine.opened([run for run in runs if run.listing], directory) as table:
        engine.check_select(table, query)
        return engine.interruptible(table, lambda: table.execute(query).df())
