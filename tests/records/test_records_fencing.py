"""A process that was paused, lost its lock and wakes can't replace, remove or hide what its successor wrote."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from afterkernel.errors import LockLostError
from afterkernel.records import next_number, read_records, results, store, write_record
from afterkernel.records.store import fence_records
from afterkernel.runs import run_lock as lock_module
from afterkernel.runs.run_lock import run_lock


def contents(folder):
    return {path.name: path.read_bytes() for path in (folder / "records").iterdir() if path.name[0] != "."}


@pytest.mark.parametrize("paused_at", ["fsync", "link", "mkdir"])
@pytest.mark.parametrize("same_record", [True, False])
def test_a_holder_paused_in_the_middle_of_a_write_changes_nothing(
    tmp_path, make_record, monkeypatch, paused_at, same_record
):
    paused, wake = threading.Event(), threading.Event()
    owner = Path if paused_at == "mkdir" else os
    real = getattr(owner, paused_at)

    def pausing(*arguments, **options):
        if threading.current_thread().name == "old":
            paused.set()
            assert wake.wait(60)
        return real(*arguments, **options)

    monkeypatch.setattr(owner, paused_at, pausing)
    old = make_record(epoch=5, margin=0.125)
    outcome = []

    def write_old():
        try:
            outcome.append(write_record(tmp_path, old, 1))
        except LockLostError as error:
            outcome.append(error)

    thread = threading.Thread(target=write_old, name="old")
    thread.start()
    assert paused.wait(60)
    new = [make_record(epoch=5 if same_record else 8), make_record(epoch=0)]
    for record in new:
        write_record(tmp_path, record, 2)
    before = contents(tmp_path)
    wake.set()
    thread.join()
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    counted = read_records(tmp_path)
    assert all(record in counted for record in new)
    assert len(counted) == (2 if same_record else 3)
    assert len(results(tmp_path)) == len(counted)


def test_a_holder_that_lost_its_lock_gets_an_error_when_it_writes(tmp_path, make_record):
    write_record(tmp_path, make_record(epoch=5), 2)
    with pytest.raises(LockLostError, match="taken over"):
        write_record(tmp_path, make_record(epoch=8), 1)
    assert len(contents(tmp_path)) == 1


def test_a_draft_that_the_successor_removed_is_a_lost_lock(tmp_path, make_record, monkeypatch):
    link = os.link

    def late(draft, path):
        Path(draft).unlink()
        return link(draft, path)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(LockLostError):
        write_record(tmp_path, make_record(), 1)


def test_records_below_a_fence_do_not_count_even_when_they_come_later(tmp_path, make_record, monkeypatch):
    write_record(tmp_path, make_record(epoch=0), 1)
    fence_records(tmp_path, 2)
    assert next_number(tmp_path) == 3
    write_record(tmp_path, make_record(epoch=5, margin=0.5), 2)
    monkeypatch.setattr(store, "next_number", lambda _: 0)
    write_record(tmp_path, make_record(epoch=8), 1)
    assert read_records(tmp_path) == [make_record(epoch=5, margin=0.5)]
    assert results(tmp_path)["epoch"].tolist() == [5]


CHILD = """
import os, pickle, signal, sys
from pathlib import Path
from afterkernel.records import write_record
from afterkernel.runs.run_lock import run_lock

link = os.link
def stopping(draft, path):
    if path.parent.name == "records" and path.name.startswith("20."):
        print("stopping", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    return link(draft, path)

os.link = stopping
folder, records = Path(sys.argv[1]), pickle.loads(sys.stdin.buffer.read())
with run_lock(folder) as lock:
    for record in records:
        write_record(folder, record, lock.number)
print("woke", flush=True)
"""


def test_a_stopped_process_that_continues_after_a_takeover(tmp_path, make_record, monkeypatch):
    import pickle

    old = [make_record(epoch=epoch, margin=0.125) for epoch in (0, 5, 8)]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    child.stdin.write(pickle.dumps(old))
    child.stdin.close()
    assert child.stdout.readline() == b"stopping\n"
    os.waitpid(child.pid, os.WUNTRACED)
    monkeypatch.setattr(lock_module, "_machine", lambda: "locked")
    (held,) = (tmp_path / "locks").glob("*.json")
    os.utime(held, (1, 1))
    new = [dataclasses.replace(record, train_loss=0.5) for record in old[1:]]
    with run_lock(tmp_path, heartbeat_s=0.05, stale_s=1) as lock:
        assert lock.number == 2
        for record in new:
            write_record(tmp_path, record, lock.number)
        before = contents(tmp_path)
        os.kill(child.pid, signal.SIGCONT)
        child.stdout.read()
        child.stdout.close()
        child.wait()
        lock.beat()
        lock.check()
        after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    assert read_records(tmp_path) == [old[0], *new]
