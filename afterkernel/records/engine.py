"""DuckDB, the query engine: a table `results` of all records, and the errors of invalid queries.

Databases are in memory. Before a user's query runs, the connection loses access to files (other than the rows that it
reads), network, extensions and Python variables; the query can not undo this.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

from afterkernel.records import cache
from afterkernel.records.columns import COLUMNS, FRAME, MEASURES_COLUMN
from afterkernel.records.connection import connect, interruptible, sql_string
from afterkernel.records.store import RunFolder

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

# What `type_of` puts before an expression.
BEFORE = "SELECT ("
_LOCK = """
SET autoinstall_known_extensions = false; SET autoload_known_extensions = false; SET temp_directory = '';
SET python_enable_replacements = false; SET enable_external_access = false; SET lock_configuration = true
"""


@contextmanager
def open_results(runs: Sequence[RunFolder], directory: Path | str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection without access to anything but its table `results`: the rows of all valid records of these runs.

    `runs` are those at or below `directory`. The columns are those of the data frame, one for each measure that a
    record has, and the JSON texts `measures`, `config` and `provenance`.
    """
    with tempfile.TemporaryDirectory(prefix="afterkernel-") as folder, connect() as engine:

        def execute(query: str) -> duckdb.DuckDBPyConnection:
            return interruptible(engine, lambda: engine.execute(query))

        parts = cache.collect_rows(execute, runs, directory, Path(folder))
        names = ", ".join([*FRAME, *(column.name for column in COLUMNS if column.name not in FRAME)])
        rows = " UNION ALL ".join(f"SELECT {names} FROM {part}" for part in parts)
        found = execute(f"SELECT DISTINCT unnest(json_keys({MEASURES_COLUMN})) FROM ({rows})").fetchall()
        execute(f"CREATE VIEW results AS {_with_measures(rows, [name for (name,) in found])}")
        # As a plain path and with wildcards escaped, since DuckDB compares it with both.
        execute(f"SET allowed_directories = [{sql_string(folder)}, {sql_string(escape(folder))}]")
        execute(_LOCK)
        yield engine


def _with_measures(rows: str, measures: Iterable[str]) -> str:
    """A query for `rows` with a column for each of the measures that the JSON text `measures` holds."""
    # DuckDB ignores case in names: of names that differ only in case, one becomes a column.
    taken = {column.name for column in COLUMNS}
    columns = {name.lower(): name for name in sorted(measures) if name.lower() not in taken}.values()
    if not columns:
        return rows
    types = sql_string(json.dumps(dict.fromkeys(columns, "DOUBLE")))
    quoted = ['"' + name.replace('"', '""') + '"' for name in sorted(columns)]
    named = ", ".join(f"parsed.{name} AS {name}" for name in quoted)
    parsed = f"SELECT *, from_json({MEASURES_COLUMN}, {types}) AS parsed FROM ({rows})"
    return f"SELECT * EXCLUDE (parsed), {named} FROM ({parsed})"


def type_of(engine: duckdb.DuckDBPyConnection, expression: str) -> str:
    """The type of an expression over the columns of `results`; raises duckdb.Error if it is invalid.

    Positions in such an error count from the start of BEFORE.
    """
    import duckdb

    query = f"{BEFORE}{expression}\n) AS value FROM results"
    try:
        check_select(engine, query)
    except duckdb.ParserException:
        # For an unclosed string or bracket, the error would otherwise point at the added bracket.
        engine.extract_statements(f"{BEFORE[:-1]} {expression}")
        raise
    return interruptible(engine, lambda: str(engine.sql(query).types[0]))


def message_of(error: Exception) -> tuple[str, int | None]:
    """The message of an error, and the byte of the query that it points at."""
    text = str(error).split(" Error: ", 1)[-1]
    try:
        found = json.loads(text)
        return found["exception_message"], int(found["position"]) if "position" in found else None
    except ValueError:
        return text, None  # an error of Python's side of the engine


def check_select(engine: duckdb.DuckDBPyConnection, query: str) -> None:
    """Raise duckdb.Error for anything but a single SELECT."""
    import duckdb

    statements = engine.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise duckdb.InvalidInputException("it is not one SELECT")


def select(engine: duckdb.DuckDBPyConnection, query: str) -> pd.DataFrame:
    """The result of a SELECT; duckdb.Error for any other query."""
    check_select(engine, query)
    return interruptible(engine, lambda: engine.execute(query).df())
