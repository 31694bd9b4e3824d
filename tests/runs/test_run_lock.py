"""Run locks: one holder at a time, even if processes race, die, stop or continue."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from afterkernel.errors import LockLostError
from afterkernel.runs import run_lock as lock_module
from afterkernel.runs.run_lock import LockedError, owner_of, run_lock


def on_another_machine(monkeypatch):
    """What follows sees the locks taken before as another machine's."""
    monkeypatch.setattr(lock_module, "_machine", lambda: "elsewhere")


def top(run_dir):
    return max((run_dir / "locks").glob("*.json"))


def test_one_holder_at_a_time(tmp_path):
    with run_lock(tmp_path) as held:
        with pytest.raises(LockedError, match=f"process {os.getpid()} on "), run_lock(tmp_path):
            pass
        assert owner_of(tmp_path) == held.owner
    assert owner_of(tmp_path) is None
    with run_lock(tmp_path):
        pass


def test_a_run_that_was_never_begun_has_no_holder(tmp_path):
    assert owner_of(tmp_path / "absent") is None
    assert not (tmp_path / "absent").exists()


def test_an_error_frees_the_run(tmp_path):
    with pytest.raises(KeyError), run_lock(tmp_path):
        raise KeyError
    assert owner_of(tmp_path) is None


@pytest.mark.parametrize("linked", [True, False])
def test_of_many_that_race_one_wins_each_time(tmp_path, monkeypatch, linked):
    if not linked:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no hard links here")))
    holding, most, wins = 0, 0, 0

    def race(_):
        nonlocal holding, most, wins
        try:
            with run_lock(tmp_path, heartbeat_s=0.01):
                holding += 1
                most = max(most, holding)
                time.sleep(0.002)
                wins += 1
                holding -= 1
        except LockedError:
            pass

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(race, range(200)))
    assert most == 1
    assert wins >= 2
    assert len(list((tmp_path / "locks").iterdir())) == 1


def hold(run_dir, times, counted):
    for _ in range(times):
        try:
            with run_lock(run_dir, heartbeat_s=0.01):
                mark = run_dir / "held"
                mark.open("x").close()  # fails where another holds
                time.sleep(0.001)
                mark.unlink()
            with counted.get_lock():
                counted.value += 1
        except LockedError:
            time.sleep(0.001)


def test_processes_that_race(tmp_path):
    context = multiprocessing.get_context("spawn")
    counted = context.Value("i", 0)
    workers = [context.Process(target=hold, args=(tmp_path, 60, counted)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert counted.value >= 3


CHILD = """
import sys, time
from pathlib import Path
from afterkernel.runs.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


def holding_process(run_dir):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(run_dir)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    return child


def test_a_killed_holder_on_this_machine_is_followed_at_once(tmp_path):
    child = holding_process(tmp_path)
    assert owner_of(tmp_path).process.startswith(f"{child.pid}@")
    with pytest.raises(LockedError, match=str(child.pid)), run_lock(tmp_path):
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    assert owner_of(tmp_path) is None
    with run_lock(tmp_path):
        assert top(tmp_path).stem == "0002"


def test_a_stopped_holder_on_this_machine_holds(tmp_path):
    child = holding_process(tmp_path)
    os.kill(child.pid, signal.SIGSTOP)
    os.utime(top(tmp_path), (0, 0))
    with pytest.raises(LockedError), run_lock(tmp_path, stale_s=1):
        pass
    assert owner_of(tmp_path, stale_s=1).process.startswith(f"{child.pid}@")
    child.kill()
    child.wait()
    child.stdout.close()


def test_a_holder_of_this_machine_whose_start_can_t_be_read_holds(tmp_path, monkeypatch):
    with run_lock(tmp_path) as held:
        # As where /proc shows no processes of other users.
        monkeypatch.setattr(lock_module, "_process", lambda number: f"{number}@")
        assert owner_of(tmp_path) == held.owner
        with pytest.raises(LockedError), run_lock(tmp_path):
            pass


def test_a_silent_holder_on_another_machine_is_followed_when_stale(tmp_path, monkeypatch):
    with run_lock(tmp_path, heartbeat_s=1000) as silent:
        on_another_machine(monkeypatch)
        with pytest.raises(LockedError), run_lock(tmp_path, stale_s=5):
            pass
        os.utime(top(tmp_path), (time.time() - 10,) * 2)
        assert owner_of(tmp_path, stale_s=5) is None
        with run_lock(tmp_path, heartbeat_s=0.1, stale_s=5) as follower:
            silent.beat()
            with pytest.raises(LockLostError, match="taken over"):
                silent.check()
            follower.beat()
            follower.check()
            silent.release()  # writes nothing any more
            assert owner_of(tmp_path).token == follower.owner.token


def test_a_beating_holder_on_another_machine_holds(tmp_path, monkeypatch):
    with run_lock(tmp_path, heartbeat_s=0.05):
        on_another_machine(monkeypatch)
        os.utime(top(tmp_path), (0, 0))
        time.sleep(0.5)
        with pytest.raises(LockedError), run_lock(tmp_path, stale_s=5):
            pass


def test_a_process_that_acts_on_outdated_information_loses_the_race(tmp_path, monkeypatch):
    """Between the look and the creation, others took the run over, gave it back, and hold it again."""
    with run_lock(tmp_path):
        pass
    check_cancelled = lock_module._highest
    looked = []

    def slow(folder):
        found = check_cancelled(folder)
        if not looked:
            looked.append(found)
            for _ in range(3):  # three holders come and go; their files are tidied away
                with run_lock(tmp_path):
                    pass
            holder.__enter__()
        return found

    holder = run_lock(tmp_path)
    monkeypatch.setattr(lock_module, "_highest", slow)
    with pytest.raises(LockedError), run_lock(tmp_path):
        pass
    monkeypatch.undo()
    assert owner_of(tmp_path) is not None
    holder.__exit__(None, None, None)


def test_a_process_number_used_again_is_another_process(tmp_path):
    with run_lock(tmp_path) as held:
        text = json.loads(held.path.read_text())
        held.path.write_text(json.dumps(text | {"process": f"{os.getpid()}@1"}))
        assert owner_of(tmp_path) is None


def test_a_file_that_is_not_whole_is_waited_for_and_then_followed(tmp_path, monkeypatch):
    folder = tmp_path / "locks"
    folder.mkdir()
    (folder / "0001.json").write_text("{")
    monkeypatch.setattr(lock_module, "UNWRITTEN_S", 0.2)
    started = time.monotonic()
    with run_lock(tmp_path):
        assert time.monotonic() - started >= 0.1
        assert top(tmp_path).stem == "0002"
    assert not list(Path(folder).glob(".*"))


def test_a_lock_of_the_future_counts_as_stale_once_it_was_seen_unchanged(tmp_path, monkeypatch):
    with run_lock(tmp_path, heartbeat_s=1000):
        on_another_machine(monkeypatch)
        os.utime(top(tmp_path), (time.time() + 10**6,) * 2)
        started = time.monotonic()
        with run_lock(tmp_path, heartbeat_s=0.1, stale_s=0.5) as follower:
            assert time.monotonic() - started >= 0.5
            assert follower.number == 2


def test_a_holder_that_lives_on_after_its_clock_was_set_back_holds(tmp_path, monkeypatch):
    with run_lock(tmp_path, heartbeat_s=0.05):
        on_another_machine(monkeypatch)
        os.utime(top(tmp_path), (time.time() + 10**6,) * 2)
        with pytest.raises(LockedError), run_lock(tmp_path, heartbeat_s=0.05, stale_s=60):
            pass


def test_a_holder_that_lives_on_after_the_clock_jumped_ahead_holds(tmp_path, monkeypatch):
    with run_lock(tmp_path, heartbeat_s=0.2) as held:
        on_another_machine(monkeypatch)
        beat, stat = type(held).beat, Path.stat
        ahead = []

        def jumped(path, **arguments):
            found = stat(path, **arguments)
            # The clock of the file system has jumped: what it made since is a day younger.
            if path.suffix == ".tmp" and not ahead:
                ahead.append(path)
                return os.stat_result([*found[:8], found.st_mtime + 86400, found.st_ctime])
            return found

        monkeypatch.setattr(Path, "stat", jumped)
        with pytest.raises(LockedError), run_lock(tmp_path, heartbeat_s=0.2, stale_s=60):
            pass
        assert ahead
        assert type(held).beat is beat
        held.check()


@pytest.mark.parametrize("content", ["[]", "{}", '{"host": 1}', "\udcff", "null", "[" * 10**5])
def test_a_lock_of_the_future_that_is_no_lock_is_followed(tmp_path, monkeypatch, content):
    path = tmp_path / "locks" / "0001.json"
    path.parent.mkdir()
    path.write_bytes(content.encode(errors="surrogateescape"))
    os.utime(path, (time.time() + 10**6,) * 2)
    monkeypatch.setattr(lock_module, "UNWRITTEN_S", 0.1)
    assert owner_of(tmp_path) is None
    with run_lock(tmp_path) as held:
        assert held.number == 2


@pytest.mark.parametrize("process", ["", "x@1", "1", "99999999999999999999@1", "\u0661@1", 7])
def test_an_owner_without_a_process_is_none(tmp_path, process):
    with run_lock(tmp_path) as held:
        held.path.write_text(json.dumps(json.loads(held.path.read_text()) | {"process": process}))
        assert owner_of(tmp_path) is None


def test_files_that_are_not_named_as_locks_are_no_locks(tmp_path):
    folder = tmp_path / "locks"
    folder.mkdir()
    names = [
        "0001 (copy).json",
        "9.json",
        "00012.json",
        "x.json",
        "\u0661\u0662\u0663\u0664.json",
        "1" * 5000 + ".json",
        "-001.json",
    ]
    for name in names:
        if len(name) < 255:
            (folder / name).write_text("{}")
    (folder / "0009.json").mkdir()
    assert owner_of(tmp_path) is None
    with run_lock(tmp_path) as held:
        assert held.number == 10
        assert owner_of(tmp_path) == held.owner
    assert {path.name for path in folder.iterdir()} >= set(names) - {names[5]}


def test_the_number_is_above_that_of_every_record(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "20.eval0.7.json").write_text("{}")
    with run_lock(tmp_path) as held:
        assert held.number == 8
    (tmp_path / "records" / "11.fence").touch()
    with run_lock(tmp_path) as held:
        assert held.number == 12
    with run_lock(tmp_path) as held:
        assert held.number == 13


def test_an_owner_that_a_later_version_describes_is_read(tmp_path):
    with run_lock(tmp_path) as held:
        held.path.write_text(json.dumps(json.loads(held.path.read_text()) | {"gpu": "a"}))
        assert owner_of(tmp_path) == held.owner


def test_abandoned_drafts_are_removed(tmp_path):
    folder = tmp_path / "locks"
    folder.mkdir()
    old, new = folder / ".old.tmp", folder / ".new.tmp"
    old.touch()
    new.touch()
    os.utime(old, (time.time() - 1000,) * 2)
    with run_lock(tmp_path):
        assert not old.exists()
        assert new.exists()
