"""Claims: one holder at a time, whatever races, dies, stops or comes back."""

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

from afterkernel.runs.run_lock import ClaimedError, ClaimLostError, claim, holder_of
from afterkernel.sweep import claim as claim_module


def on_another_machine(monkeypatch):
    """What follows sees the claims made before as another machine's."""
    monkeypatch.setattr(claim_module, "_machine", lambda: "elsewhere")


def top(run_dir):
    return max((run_dir / "claims").glob("*.json"))


def test_one_holder_at_a_time(tmp_path):
    with claim(tmp_path) as held:
        with pytest.raises(ClaimedError, match=f"process {os.getpid()} on "), claim(tmp_path):
            pass
        assert holder_of(tmp_path) == held.holder
    assert holder_of(tmp_path) is None
    with claim(tmp_path):
        pass


def test_a_run_that_was_never_begun_has_no_holder(tmp_path):
    assert holder_of(tmp_path / "absent") is None
    assert not (tmp_path / "absent").exists()


def test_an_error_frees_the_run(tmp_path):
    with pytest.raises(KeyError), claim(tmp_path):
        raise KeyError
    assert holder_of(tmp_path) is None


@pytest.mark.parametrize("linked", [True, False])
def test_of_many_that_race_one_wins_each_time(tmp_path, monkeypatch, linked):
    if not linked:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no hard links here")))
    holding, most, wins = 0, 0, 0

    def race(_):
        nonlocal holding, most, wins
        try:
            with claim(tmp_path, heartbeat_s=0.01):
                holding += 1
                most = max(most, holding)
                time.sleep(0.002)
                wins += 1
                holding -= 1
        except ClaimedError:
            pass

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(race, range(200)))
    assert most == 1
    assert wins >= 2
    assert len(list((tmp_path / "claims").iterdir())) == 1


def hold(run_dir, times, counted):
    for _ in range(times):
        try:
            with claim(run_dir, heartbeat_s=0.01):
                mark = run_dir / "held"
                mark.open("x").close()  # fails where another holds
                time.sleep(0.001)
                mark.unlink()
            with counted.get_lock():
                counted.value += 1
        except ClaimedError:
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
from afterkernel.runs.run_lock import claim
with claim(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


def holding_process(run_dir):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(run_dir)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    return child


def test_a_killed_holder_on_this_machine_is_followed_at_once(tmp_path):
    child = holding_process(tmp_path)
    assert holder_of(tmp_path).process.startswith(f"{child.pid}@")
    with pytest.raises(ClaimedError, match=str(child.pid)), claim(tmp_path):
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    assert holder_of(tmp_path) is None
    with claim(tmp_path):
        assert top(tmp_path).stem == "0002"


def test_a_stopped_holder_on_this_machine_holds(tmp_path):
    child = holding_process(tmp_path)
    os.kill(child.pid, signal.SIGSTOP)
    os.utime(top(tmp_path), (0, 0))
    with pytest.raises(ClaimedError), claim(tmp_path, stale_s=1):
        pass
    child.kill()
    child.wait()
    child.stdout.close()


def test_a_silent_holder_on_another_machine_is_followed_when_stale(tmp_path, monkeypatch):
    with claim(tmp_path, heartbeat_s=1000) as silent:
        on_another_machine(monkeypatch)
        with pytest.raises(ClaimedError), claim(tmp_path, stale_s=5):
            pass
        os.utime(top(tmp_path), (time.time() - 10,) * 2)
        assert holder_of(tmp_path, stale_s=5) is None
        with claim(tmp_path, stale_s=5) as follower:
            silent.beat()
            with pytest.raises(ClaimLostError, match="taken over"):
                silent.check()
            follower.beat()
            follower.check()
            silent.release()  # says nothing any more
            assert holder_of(tmp_path).token == follower.holder.token


def test_a_beating_holder_on_another_machine_holds(tmp_path, monkeypatch):
    with claim(tmp_path, heartbeat_s=0.05):
        on_another_machine(monkeypatch)
        os.utime(top(tmp_path), (0, 0))
        time.sleep(0.5)
        with pytest.raises(ClaimedError), claim(tmp_path, stale_s=5):
            pass


def test_who_judged_by_an_old_look_loses(tmp_path, monkeypatch):
    """Between the look and the creation, others took the run over, gave it back, and hold it again."""
    with claim(tmp_path):
        pass
    look = claim_module._highest
    looked = []

    def slow(folder):
        found = look(folder)
        if not looked:
            looked.append(found)
            for _ in range(3):  # three holders come and go; their files are tidied away
                with claim(tmp_path):
                    pass
            holder.__enter__()
        return found

    holder = claim(tmp_path)
    monkeypatch.setattr(claim_module, "_highest", slow)
    with pytest.raises(ClaimedError), claim(tmp_path):
        pass
    monkeypatch.undo()
    assert holder_of(tmp_path) is not None
    holder.__exit__(None, None, None)


def test_a_process_number_used_again_is_another_process(tmp_path):
    with claim(tmp_path) as held:
        text = json.loads(held.path.read_text())
        held.path.write_text(json.dumps(text | {"process": f"{os.getpid()}@1"}))
        assert holder_of(tmp_path) is None


def test_a_file_that_is_not_whole_is_waited_for_and_then_followed(tmp_path, monkeypatch):
    folder = tmp_path / "claims"
    folder.mkdir()
    (folder / "0001.json").write_text("{")
    monkeypatch.setattr(claim_module, "UNWRITTEN_S", 0.2)
    started = time.monotonic()
    with claim(tmp_path):
        assert time.monotonic() - started >= 0.1
        assert top(tmp_path).stem == "0002"
    assert not list(Path(folder).glob(".*"))


def test_drafts_that_nobody_writes_any_more_are_removed(tmp_path):
    folder = tmp_path / "claims"
    folder.mkdir()
    old, new = folder / ".old.tmp", folder / ".new.tmp"
    old.touch()
    new.touch()
    os.utime(old, (time.time() - 1000,) * 2)
    with claim(tmp_path):
        assert not old.exists()
        assert new.exists()
