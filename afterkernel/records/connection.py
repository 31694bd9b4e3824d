"""Connections to DuckDB: in memory, interruptible by Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import duckdb

_T = TypeVar("_T")


def connect() -> duckdb.DuckDBPyConnection:
    """A connection in memory."""
    import duckdb

    # With one thread, rows come in the order of the files. The file cache is off: it compares files only by time.
    engine = duckdb.connect(":memory:", config={"enable_external_file_cache": "false", "threads": "1"})
    # No progress bar, which would be printed among results.
    interruptible(engine, lambda: engine.execute("SET enable_progress_bar = false; SET errors_as_json = true"))
    return engine


def interruptible(engine: duckdb.DuckDBPyConnection, work: Callable[[], _T]) -> _T:
    """Run work of the engine in a thread, so that Ctrl-C interrupts it and stays a KeyboardInterrupt.

    In the main thread the engine would replace KeyboardInterrupt by its own error, or not notice it.
    """
    outcome: Future[_T] = Future()

    def run() -> None:
        if outcome.set_running_or_notify_cancel():
            try:
                outcome.set_result(work())
            except BaseException as error:
                outcome.set_exception(error)

    try:
        threading.Thread(target=run, daemon=True).start()
        return outcome.result()
    except BaseException:
        # Also if the signal came while the thread was starting. An interrupt before the query begins has no effect.
        while not (outcome.cancel() or outcome.done()):
            engine.interrupt()
            wait([outcome], 0.05)
        raise


def sql_string(value: str) -> str:
    """A string as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"
