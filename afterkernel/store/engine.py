"""The embedded engine (DuckDB): writes the rows of a store file, and loads those of many into one table to be asked.

Connections live in memory. Before a user's query runs, the connection is cut off from files, network, extensions and
Python's variables, for good: what it asks is the table `results` and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from afterkernel.errors import UserError
from afterkernel.store import index, seal
from afterkernel.store.codec import Row, run_of
from afterkernel.store.columns import BY_NAME, COLUMNS, FRAME, SEPARATOR
from afterkernel.store.record import SCHEMA_VERSION
from afterkernel.store.seal import Sealed

if TYPE_CHECKING:
    import duckdb

_ALL = [*FRAME, *(column.name for column in COLUMNS if column.name not in FRAME)]
_LOCK = """
SET autoinstall_known_extensions = false; SET autoload_known_extensions = false; SET temp_directory = '';
SET python_enable_replacements = false; SET enable_external_access = false; SET lock_configuration = true
"""
# So that a plan names every column that a query needs, whatever the rows.
_PLAINLY = "SET disabled_optimizers = 'filter_pushdown,statistics_propagation,empty_result_pullup,late_materialization'"
_TRIES = 20
_T = TypeVar("_T")


def write(rows: Sequence[Row]) -> bytes:
    """The sealed bytes of a Parquet file with these rows, in their order."""
    with _connect() as engine, tempfile.TemporaryDirectory() as folder:
        columns = ", ".join(f'"{column.name}" {column.sql}' for column in COLUMNS)
        engine.execute(f"CREATE TABLE rows ({columns})")
        engine.executemany(f"INSERT INTO rows VALUES ({', '.join('?' for _ in COLUMNS)})", rows)
        path = Path(folder, "records.parquet")
        copy(engine, "rows", set(map(run_of, rows)), path)
        return seal.close(path.read_bytes())


def copy(engine: duckdb.DuckDBPyConnection, what: str, runs: set[tuple[str, str]], path: Path) -> None:
    """Write a table or (query) that holds the rows of these runs as Parquet, ready to be sealed."""
    said = ", ".join(f"'{name}': {_text(value)}" for name, value in seal.metadata(runs).items())
    engine.execute(f"COPY {what} TO {_text(str(path))} (FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{said}}})")


def read(paths: Sequence[Path], *, copies: bool = True) -> list[list[Row]]:
    """The rows of each of some store files. UserError where one is not whole or not of this version.

    `copies` says whether two files may hold the same run.
    """
    names = ", ".join(f'"{column.name}"' for column in COLUMNS)
    with _connect() as engine:
        select = f"SELECT filename, {names} FROM"
        rows = _steadily(paths, lambda found: _scan(engine, select, found).fetchall(), copies=copies)
    of_file: dict[str, list[Row]] = {str(path): [] for path in paths}
    for name, *row in rows:
        of_file[name].append(tuple(row))
    return [of_file[str(path)] for path in paths]


def load(paths: Sequence[Path], names: Sequence[str] | None = None) -> duckdb.DuckDBPyConnection:
    """A connection that is cut off from all but its table `results`, with those columns of all rows of the files.

    Columns are those of the data frame and the JSON texts `config` and `provenance`; all of them unless `names` tells.
    UserError where a file is not whole, not of this version, or holds the run of another.
    """
    engine = _connect()
    _steadily(paths, lambda found: _fill(engine, found, _ALL if names is None else names), copies=False)
    engine.execute(_LOCK)
    return engine


def _fill(engine: duckdb.DuckDBPyConnection, found: Sequence[Sealed], names: Sequence[str]) -> None:
    """Make the table `results`, from the copy of many runs' rows where there is one."""
    import duckdb

    create = "CREATE OR REPLACE TABLE results AS SELECT"
    path = index.path_for(found) if FRAME.keys() >= set(names) else None
    if path is not None and index.is_whole(path):
        with contextlib.suppress(duckdb.Error):  # another process may have removed it just now
            engine.execute(f"{create} {', '.join(names)} FROM read_parquet(?)", [str(path)])
            return
    with tempfile.TemporaryDirectory() as folder:
        parts = _gathered(found, names, Path(folder))
        if parts:
            engine.execute(f"{create} {', '.join(names)} FROM read_parquet(?)", [list(map(str, parts))])
        else:
            _scan(engine, f"{create} {', '.join(map(_column, names))} FROM", found)
    if path is not None and FRAME.keys() == set(names) and all(one.is_current() for one in found):
        with tempfile.TemporaryDirectory() as folder:
            copied = Path(folder, "results.parquet")
            copy(engine, "results", set(), copied)
            index.write(path, seal.close(copied.read_bytes()))


def _gathered(found: Sequence[Sealed], names: Sequence[str], folder: Path) -> list[Path]:
    """The rows of many files in a few, in order, each filled by a connection of its own; none where files are few.

    What takes the time is to open a file with so many columns, and the threads of one connection wait for each other.
    """
    count = min(_cores(), len(found) // index.FROM_FILES)
    if count < 2:
        return []
    bounds = [len(found) * place // count for place in range(count + 1)]
    parts = [folder / f"{place}.parquet" for place in range(count)]

    def fill(place: int) -> None:
        with _connect() as own:
            select = f"CREATE TABLE part AS SELECT {', '.join(map(_column, names))} FROM"
            _scan(own, select, found[bounds[place] : bounds[place + 1]])
            own.execute(f"COPY part TO {_text(str(parts[place]))} (FORMAT parquet)")

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(fill, range(count)))
    return parts


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def needed(query: str) -> list[str] | None:
    """The columns of `results` that a query needs, found by planning it on an empty table; None for all of them.

    Raises duckdb.Error where the query is not one SELECT over the table and its columns.
    """
    with _empty() as engine:
        _check_select(engine, query)
        row: Any = engine.execute(f"EXPLAIN (FORMAT json) {query}").fetchone()
    found = [scan for node in json.loads(row[1]) for scan in _scans(node)]
    if not found:
        return None
    return sorted({name for scan in found for name in scan}, key=_ALL.index) or _ALL[:1]


def type_of(expression: str) -> str:
    """The type of an expression of the columns of `results`; raises duckdb.Error where it is none."""
    with _empty() as engine:
        query = f"SELECT ({expression}\n) AS value FROM results"
        _check_select(engine, query)
        return str(engine.sql(query).types[0])


def reason(error: Exception) -> str:
    """What the engine says is wrong, as half a sentence."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    name = unknown_column(error)
    if name is not None:
        return f"{name} is not a column (text stands in single quotes)"
    return _half(first.split(" Error: ", 1)[-1].rstrip("!."))


def unknown_column(error: Exception) -> str | None:
    """The name of which the engine says that it is no column; None where it says something else."""
    found = re.search(r'Referenced column "(.*?)" (?:was )?not found|have a column named "(.*?)"', str(error))
    return None if found is None else found[1] or found[2]


def condition_fault(error: Exception, condition: str) -> str | None:
    """Where in a condition the grammar found an error, as half a sentence; None where the error is another."""
    import duckdb

    if not isinstance(error, duckdb.ParserException):
        return None
    # In brackets, what lacks its end would be told of a bracket that is not the condition's; but brackets find more.
    plain = _fault("SELECT 1 FROM results WHERE ", condition)
    return plain if plain is not None else _fault("SELECT 1 FROM results WHERE (", condition, "\n)")


def query_fault(error: Exception, query: str) -> str | None:
    """The same of a query."""
    import duckdb

    return _fault("", query) if isinstance(error, duckdb.ParserException) else None


def _fault(before: str, words: str, after: str = "") -> str | None:
    """What the grammar says of the user's words that stand within others; None where they are in order."""
    import duckdb

    with _connect() as engine:
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
    engine = _connect()
    engine.execute(f"CREATE TABLE results ({', '.join(f'{name} {_kind(name)}' for name in _ALL)})")
    engine.execute(_PLAINLY)
    engine.execute(_LOCK)
    return engine


def _check_select(engine: duckdb.DuckDBPyConnection, query: str) -> None:
    import duckdb

    statements = engine.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise duckdb.ParserException("it is not one SELECT")


def _connect() -> duckdb.DuckDBPyConnection:
    import duckdb

    # Its cache of files tells them apart by time alone, and no file is read twice. On many small files its threads wait
    # for each other more than they do; with one, rows come in the order of the files.
    engine = duckdb.connect(":memory:", config={"enable_external_file_cache": "false", "threads": "1"})
    engine.execute("SET enable_progress_bar = false")  # it would be printed among results
    return engine


def _steadily(paths: Sequence[Path], reading: Callable[[list[Sealed]], _T], *, copies: bool) -> _T:
    """What `reading` gives of files that were checked and that no writer replaced while it read."""
    import duckdb

    found = [seal.check(path) for path in paths]
    if not copies:
        _refuse_copies(found)
    for _ in range(_TRIES):
        failure = None
        try:
            result = reading(found)
        except duckdb.Error as error:
            failure = error
        replaced = [place for place, one in enumerate(found) if not one.is_current()]
        if not replaced and failure is not None:
            raise UserError(f"{_where(found)} can't be read: {reason(failure)}.") from failure
        if not replaced:
            return result
        for place in replaced:
            found[place] = seal.check(found[place].path)
    raise UserError(f"{found[replaced[0]].path} is being rewritten all the time: try again.")


def _scan(engine: duckdb.DuckDBPyConnection, select: str, found: Sequence[Sealed]) -> duckdb.DuckDBPyConnection:
    return engine.execute(
        f"{select} read_parquet(?, filename = true, hive_partitioning = false)", [[str(one.path) for one in found]]
    )


def _refuse_copies(found: Sequence[Sealed]) -> None:
    first: dict[tuple[str, str], Path] = {}
    for one in found:
        for run in one.runs:
            if run in first:
                raise UserError(
                    f"{first[run]} and {one.path} hold the same run: remove one, or name a smaller directory."
                )
            first[run] = one.path


def _where(found: Sequence[Sealed]) -> str:
    return str(found[0].path) if len(found) == 1 else f"One of {len(found)} files such as {found[0].path}"


def _column(name: str) -> str:
    if name == "schema_version":
        return f"{SCHEMA_VERSION} AS schema_version"
    if BY_NAME[name].kind is tuple:
        return f'array_to_string("{name}", {_text(SEPARATOR)}) AS "{name}"'
    return f'"{name}"'


def _kind(name: str) -> str:
    if name == "schema_version":
        return "BIGINT"
    return "VARCHAR" if BY_NAME[name].kind is tuple else BY_NAME[name].sql


def _scans(node: Any) -> list[list[str]]:
    told = node.get("extra_info", {})
    below = [scan for child in node.get("children", []) for scan in _scans(child)]
    if str(told.get("Table", "")).split(".")[-1] != "results":
        return below
    names = told.get("Projections") or []
    return [[names] if isinstance(names, str) else names, *below]


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
