"""Ctrl-C while the engine works stays a KeyboardInterrupt for every caller."""

import os
import signal
import threading

import pytest

from afterkernel.__main__ import main
from afterkernel.records import read_records, results, sql, write_record

ENDLESS = "select count(*) from results, range(1000000) a, range(1000000) b where (a.range * b.range) % 7 = 3"


@pytest.fixture
def folder(tmp_path, make_record):
    write_record(tmp_path / "run0", make_record(), 1)
    return tmp_path


def interrupt_soon(delay_s=0.3):
    timer = threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


def test_an_interrupted_query_is_an_interrupt(folder):
    timer = interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        sql(folder, ENDLESS)
    timer.join()
    assert len(results(folder)) == 1


def test_an_interrupted_condition_is_an_interrupt_of_the_command(folder, capsys):
    timer = interrupt_soon()
    assert main(["results", str(folder), "--where", f"({ENDLESS}) > 0"]) == 130
    timer.join()
    assert "interrupted" in capsys.readouterr().err


# Between the opening of a file and its `with` Python has no one to close it.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("delay_s", [0.01 * step for step in range(1, 15)])
def test_an_interrupt_at_any_moment_is_an_interrupt(folder, delay_s):
    results(folder)  # imports what the next call needs
    timer = interrupt_soon(delay_s)
    with pytest.raises(KeyboardInterrupt):
        results(folder, f"({ENDLESS}) > 0")
    timer.join()


def test_what_another_signal_raises_stays_what_it_is(folder):
    class Preempted(BaseException):
        pass

    def preempt(*_):
        raise Preempted

    before = signal.signal(signal.SIGINT, preempt)
    try:
        timer = interrupt_soon()
        with pytest.raises(Preempted):
            sql(folder, ENDLESS)
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)


def test_records_are_written_and_read_without_the_engine(tmp_path, make_record, monkeypatch):
    import duckdb

    def refuse(*_, **__):
        raise AssertionError("the engine was asked")

    monkeypatch.setattr(duckdb, "connect", refuse)
    write_record(tmp_path, make_record(), 1)
    assert read_records(tmp_path) == [make_record()]
