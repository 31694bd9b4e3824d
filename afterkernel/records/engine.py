"""The embedded engine (DuckDB): one table `results` to be asked, and what it says of a faulty query.

Connections live in memory. Before a user's query runs, the connection is cut off from files (other than the rows that
it asks), network, extensions and Python's variables, for good.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from afterkernel.records import cache
from afterkernel.records.columns import COLUMNS, FRAME, MEASURES
from afterkernel.records.store import RunFolder

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

# Where `type_of` puts an expression.
BEFORE = "SELECT ("
_LOCK = """
SET autoinstall_known_extensions = false; SET autoload_known_extensions = false; SET temp_directory = '';
SET python_enable_replacements = false; SET enable_external_access = false; SET lock_configuration = true
"""
_T = TypeVar("_T")


def connect() -> duckdb.DuckDBPyConnection:
    """A connection in memory."""
    import duckdb

    # With one thread, rows come in the order of the files; its cache of files tells them apart by time alone.
    engine = duckdb.connect(":memory:", config={"enable_external_file_cache": "false", "threads": "1"})
    engine.execute("SET enable_progress_bar = false")  # it would be printed among results
    engine.execute("SET errors_as_json = true")
    return engine


def interruptible(engine: duckdb.DuckDBPyConnection, work: Callable[[], _T]) -> _T:
    """Do work of the engine in a thread, so that what a signal raises here (Ctrl-C) stays what it is and ends it.

    Within its own loops the engine would turn KeyboardInterrupt into an error of its own, or not notice it.
    """
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            return future.result()
        except BaseException:
            engine.interrupt()
            raise


@contextmanager
def open_results(runs: Sequence[RunFolder], directory: Path | str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that is cut off from all but its table `results`: all rows of the records of these runs that count.

    `runs` are those at or below `directory`. The columns are those of the data frame, one for each measure that a
    record has, and the JSON texts `measures`, `config` and `provenance`.
    """
    with tempfile.TemporaryDirectory(prefix="afterkernel-") as folder, connect() as engine:

        def execute(query: str) -> duckdb.DuckDBPyConnection:
            return interruptible(engine, lambda: engine.execute(query))

        parts = cache.collect_rows(execute, runs, directory, Path(folder))
        names = ", ".join([*FRAME, *(column.name for column in COLUMNS if column.name not in FRAME)])
        rows = " UNION ALL ".join(f"SELECT {names} FROM {part}" for part in parts)
        found = execute(f"SELECT DISTINCT unnest(json_keys({MEASURES})) FROM ({rows})").fetchall()
        engine.execute(f"CREATE VIEW results AS {_with_measures(rows, [name for (name,) in found])}")
        # As it is and as a pattern, for it is compared with both.
        engine.execute(f"SET allowed_directories = [{cache.sql_string(folder)}, {cache.sql_string(escape(folder))}]")
        engine.execute(_LOCK)
        yield engine


def _with_measures(rows: str, measures: Iterable[str]) -> str:
    """A query for `rows` with a column for each of the measures that the JSON text `measures` holds."""
    # DuckDB does not tell names apart by case; the others can still be read from the JSON text.
    taken = {column.name for column in COLUMNS}
    columns = {name.lower(): name for name in sorted(measures) if name.lower() not in taken}.values()
    if not columns:
        return rows
    types = cache.sql_string(json.dumps(dict.fromkeys(columns, "DOUBLE")))
    quoted = ['"' + name.replace('"', '""') + '"' for name in sorted(columns)]
    named = ", ".join(f"parsed.{name} AS {name}" for name in quoted)
    parsed = f"SELECT *, from_json({MEASURES}, {types}) AS parsed FROM ({rows})"
    return f"SELECT * EXCLUDE (parsed), {named} FROM ({parsed})"


def type_of(engine: duckdb.DuckDBPyConnection, expression: str) -> str:
    """The type of an expression of the columns of `results`; raises duckdb.Error where it is none.

    Places in such an error count from the start of BEFORE.
    """
    import duckdb

    query = f"{BEFORE}{expression}\n) AS value FROM results"
    try:
        check_select(engine, query)
    except duckdb.ParserException:
        # Of an unclosed string or bracket the added bracket would be blamed.
        engine.extract_statements(f"{BEFORE[:-1]} {expression}")
        raise
    return str(engine.sql(query).types[0])


def message_of(error: Exception) -> tuple[str, int | None]:
    """What the engine says is wrong, and at which byte of the query."""
    sql_string = str(error).split(" Error: ", 1)[-1]
    try:
        found = json.loads(sql_string)
        return found["exception_message"], int(found["position"]) if "position" in found else None
    except ValueError:
        return sql_string, None  # an error of Python's side of the engine


def check_select(engine: duckdb.DuckDBPyConnection, query: str) -> None:
    """Raise duckdb.Error where a query is not one SELECT."""
    import duckdb

    statements = engine.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise duckdb.InvalidInputException("it is not one SELECT")


def select(engine: duckdb.DuckDBPyConnection, query: str) -> pd.DataFrame:
    """What a SELECT gives; duckdb.Error where the query is none."""
    check_select(engine, query)
    return interruptible(engine, lambda: engine.execute(query).df())
