"""The embedded engine (DuckDB): one table `results` to be asked, and what it says of a faulty query.

Connections live in memory. Before a user's query runs, the connection is cut off from files (other than the rows that
it asks), network, extensions and Python's variables, for good.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from afterkernel.records import cache
from afterkernel.records.columns import COLUMNS, FRAME
from afterkernel.records.store import RunFolder

if TYPE_CHECKING:
    import duckdb

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
def opened(runs: Sequence[RunFolder], directory: Path | str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that is cut off from all but its table `results`: all rows of the records of these runs that count.

    `runs` are those at or below `directory`.
    Columns are those of the data frame and the JSON texts `config` and `provenance`.
    """
    with tempfile.TemporaryDirectory(prefix="afterkernel-") as folder, connect() as engine:

        def execute(query: str) -> duckdb.DuckDBPyConnection:
            return interruptible(engine, lambda: engine.execute(query))

        parts = cache.gather(execute, runs, directory, Path(folder))
        names = ", ".join([*FRAME, *(column.name for column in COLUMNS if column.name not in FRAME)])
        view = " UNION ALL ".join(f"SELECT {names} FROM {part}" for part in parts)
        engine.execute(f"CREATE VIEW results AS {view}")
        # As it is and as a pattern, for it is compared with both.
        engine.execute(f"SET allowed_directories = [{cache.text(folder)}, {cache.text(escape(folder))}]")
        engine.execute(_LOCK)
        yield engine


def type_of(expression: str) -> str:
    """The type of an expression of the columns of `results`; raises duckdb.Error where it is none.

    Places in such an error count from the start of BEFORE.
    """
    import duckdb

    with connect() as engine:
        engine.execute(f"CREATE TABLE results ({', '.join(f'{column.name} {column.sql}' for column in COLUMNS)})")
        engine.execute(_LOCK)
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
    text = str(error).split(" Error: ", 1)[-1]
    try:
        found = json.loads(text)
        return found["exception_message"], int(found["position"]) if "position" in found else None
    except ValueError:
        return text, None  # an error of Python's side of the engine


def check_select(engine: duckdb.DuckDBPyConnection, query: str) -> None:
    """Raise duckdb.Error where a query is not one SELECT."""
    import duckdb

    statements = engine.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise duckdb.InvalidInputException("it is not one SELECT")
