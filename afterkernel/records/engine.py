"""The embedded engine (DuckDB): one table `results` to be asked, and what it says of a faulty query.

Connections live in memory. Before a user's query runs, the connection is cut off from files (other than the rows that
it asks), network, extensions and Python's variables, for good.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from afterkernel.records import cache
from afterkernel.records.columns import BY_NAME, COLUMNS, FRAME
from afterkernel.records.record import SCHEMA_VERSION
from afterkernel.records.store import RunFolder

if TYPE_CHECKING:
    import duckdb

_ALL = [*FRAME, *(column.name for column in COLUMNS if column.name not in FRAME)]
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
        names = ", ".join(map(_column, _ALL))
        view = " UNION ALL ".join(f"SELECT {names} FROM {part}" for part in parts)
        engine.execute(f"CREATE VIEW results AS {view}")
        # As it is and as a pattern, for it is compared with both.
        engine.execute(f"SET allowed_directories = [{cache.text(folder)}, {cache.text(escape(folder))}]")
        engine.execute(_LOCK)
        yield engine


def type_of(expression: str) -> str:
    """The type of an expression of the columns of `results`; raises duckdb.Error where it is none."""
    with _empty() as engine:
        query = f"SELECT ({expression}\n) AS value FROM results"
        check_select(engine, query)
        return str(engine.sql(query).types[0])


def reason(error: Exception) -> str:
    """What the engine says is wrong, as half a sentence."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    name = unknown_column(error)
    if name is not None:
        return f"{name} is not a column (text stands in single quotes)"
    return _half(first.split(" Error: ", 1)[-1].rstrip("!."))


def unknown_column(error: Exception) -> str | None:
    """The name that the engine reports as an unknown column; None for any other error."""
    found = re.search(r'Referenced column "(.*?)" (?:was )?not found|have a column named "(.*?)"', str(error))
    return None if found is None else found[1] or found[2]


def condition_fault(error: Exception, condition: str) -> str | None:
    """Where in a condition the grammar found an error, as half a sentence; None where the error is another."""
    import duckdb

    if not isinstance(error, duckdb.ParserException):
        return None
    # Brackets find more errors, but an unclosed string or bracket would then be blamed on the added one.
    plain = _fault("SELECT 1 FROM results WHERE ", condition)
    return plain if plain is not None else _fault("SELECT 1 FROM results WHERE (", condition, "\n)")


def query_fault(error: Exception, query: str) -> str | None:
    """The same of a query."""
    import duckdb

    return _fault("", query) if isinstance(error, duckdb.ParserException) else None


def _fault(before: str, words: str, after: str = "") -> str | None:
    """What the grammar says of the user's words that stand within others; None where they are in order."""
    import duckdb

    with connect() as engine:
        engine.execute("SET errors_as_json = true")
        try:
            engine.extract_statements(before + words + after)
        except duckdb.ParserException as error:
            told = json.loads(str(error).split(" Error: ", 1)[-1])
        else:
            return None
    text = _half(" ".join(told["exception_message"].split()))
    if "position" not in told:
        return text
    # The engine counts bytes.
    place = len((before + words).encode()[: int(told["position"])].decode(errors="ignore")) - len(before)
    return f"{text} (character {min(max(place + 1, 1), max(len(words), 1))} of {len(words)})"


def _half(sentence: str) -> str:
    """A sentence as half of one, but for a word in capitals at its start."""
    return sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]


def _empty() -> duckdb.DuckDBPyConnection:
    """A connection that is cut off, with an empty table `results`."""
    engine = connect()
    engine.execute(f"CREATE TABLE results ({', '.join(f'{name} {_kind(name)}' for name in _ALL)})")
    engine.execute(_LOCK)
    return engine


def check_select(engine: duckdb.DuckDBPyConnection, query: str) -> None:
    """Raise duckdb.Error where a query is not one SELECT."""
    import duckdb

    statements = engine.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise duckdb.ParserException("it is not one SELECT")


def _column(name: str) -> str:
    return f"{SCHEMA_VERSION}::BIGINT AS schema_version" if name == "schema_version" else f'"{name}"'


def _kind(name: str) -> str:
    return "BIGINT" if name == "schema_version" else BY_NAME[name].sql
