"""Run locks: at most one process works on a run, on one machine or on several that share a file system.

RUN_ID/locks/0003.json        who holds the run, and since when; its time of change is the holder's heartbeat
RUN_ID/locks/0003.progress    what the holder is doing (see `afterkernel.runs.progress_file`)

The lock with the highest number counts, and it is never deleted, only followed by a higher one. So no other lock is
needed: processes race only to create a file (a hard link to a finished file, atomic also on NFS), and a process that
decided by what was true some time ago loses that race. The number is a fencing token: it names the records that are
written under the lock (see `afterkernel.records.store`) and is higher than that of any record.

A lock ends when its holder releases it, when its process has ended (on the same machine), or when its heartbeat has
stopped for `STALE_S` by the file system's clock. Clocks jump: before a lock of another machine is taken over it must
also be seen unchanged for two heartbeats of one's own monotonic clock, and for `STALE_S` where its time lies in the
future.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from afterkernel.errors import LockLostError
from afterkernel.files.json_data import parse
from afterkernel.records.files import LOCKS, link, write_atomic
from afterkernel.records.store import lock_numbers, next_number

PROGRESS = ".progress"
HEARTBEAT_S = 10.0
STALE_S = 120.0
UNWRITTEN_S = 2.0
LOOK_S = 1.0
# Files of locks as this process saw them: time of change, and since when (monotonic) it has been that.
_seen: dict[Path, tuple[int, float]] = {}


@dataclass(frozen=True)
class LockOwner:
    """The process that holds a lock, named so that no process on another machine or after a restart is taken for it.

    `machine` is the kernel's boot and process namespace, within which `process` (number and start time) is unique.
    `since` is in seconds since 1970, by the owner's clock.
    """

    host: str
    machine: str
    process: str
    token: str
    since: float
    released: bool = False

    def __str__(self) -> str:
        return f"process {self.process.split('@')[0]} on {self.host}"


class LockedError(Exception):
    """Another process holds the run."""

    def __init__(self, owner: LockOwner) -> None:
        super().__init__(str(owner))
        self.owner = owner


class RunLock:
    """A lock held by this process. `number` names the records that are written under it."""

    def __init__(self, path: Path, number: int, owner: LockOwner) -> None:
        self.path, self.number, self.owner = path, number, owner
        self._lost, self._looked_s = False, time.monotonic()

    def check(self) -> None:
        """Raise LockLostError where another process has taken over the run.

        It looks at most once per second: a process that was paused for longer, as a takeover needs, notices at once.
        """
        now_s = time.monotonic()
        if now_s - self._looked_s > LOOK_S:
            self._looked_s = now_s
            with contextlib.suppress(OSError):
                self._lost = self._lost or not self._counts()
        if self._lost:
            raise LockLostError(f"{self.path.parent.parent.name} was taken over by another process")

    def beat(self) -> None:
        """Show a sign of life, and look whether the lock still counts."""
        with contextlib.suppress(OSError):  # a full or absent disk for a moment is not a reason to give up
            self._lost = self._lost or not self._counts()
            if not self._lost:
                os.utime(self.path)

    def release(self) -> None:
        """Say that the run is free; if the disk is too full to say so, the lock is found stale later."""
        with contextlib.suppress(OSError):
            if self._counts():
                write_atomic(self.path, json.dumps(asdict(replace(self.owner, released=True))))

    def _counts(self) -> bool:
        return _highest(self.path.parent.parent)[0] == self.number


@contextlib.contextmanager
def run_lock(run_dir: Path, *, heartbeat_s: float = HEARTBEAT_S, stale_s: float = STALE_S) -> Iterator[RunLock]:
    """Hold the lock of a run for the length of the block. Raises LockedError where another process holds it.

    Where it has to be seen whether the owner is alive, on another machine, this waits for two heartbeats or `stale_s`.
    """
    held = _acquire(run_dir, heartbeat_s, stale_s)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(heartbeat_s):
            held.beat()

    heart = threading.Thread(target=beat, name="heartbeat", daemon=True)
    heart.start()
    try:
        yield held
    finally:
        ended.set()
        heart.join()
        held.release()


def owner_of(run_dir: Path, *, stale_s: float = STALE_S) -> LockOwner | None:
    """The process that works on a run at this moment, or None; writes nothing and does not wait."""
    path = _highest(run_dir)[1]
    found = _read(path)
    if found is None or found.released or _has_ended(found):
        return None
    # A process of this machine may be stopped, which keeps its lock.
    return found if found.machine == _machine() or max(_age_s(path, time.time())) <= stale_s else None


def progress_of(run_dir: Path) -> Path:
    """Where the holder of a run's lock writes its progress."""
    return _highest(run_dir)[1].with_suffix(PROGRESS)


def _acquire(run_dir: Path, heartbeat_s: float, stale_s: float) -> RunLock:
    folder = run_dir / LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    mine = LockOwner(socket.gethostname(), _machine(), _process(os.getpid()), secrets.token_hex(8), time.time())
    # Not `write_atomic`: the name must stay, to be linked from.
    draft = folder / f".{mine.token}.tmp"
    try:
        draft.write_text(json.dumps(asdict(mine)))
        while True:
            # Before the look by which is decided: a number from after it could lie above that of a new holder.
            least = next_number(run_dir)
            number, path = _highest(run_dir)
            if number:
                os.utime(draft)  # its time of change is then the file system's own present
                wait_s = _wait_s(path, draft.stat().st_mtime, heartbeat_s, stale_s)
                if wait_s > 0.0:
                    time.sleep(min(wait_s, heartbeat_s / 2, UNWRITTEN_S / 10))
                    continue
            number = max(number + 1, least)
            wanted = folder / f"{number:04d}.json"
            try:
                link(draft, wanted)
            except FileExistsError:
                continue
            if _highest(run_dir)[0] != number:  # it was decided by what was true long ago
                wanted.unlink(missing_ok=True)
                continue
            _tidy(run_dir, number, before=draft.stat().st_mtime - stale_s)
            return RunLock(wanted, number, mine)
    finally:
        draft.unlink(missing_ok=True)


def _wait_s(path: Path, now: float, heartbeat_s: float, stale_s: float) -> float:
    """Seconds until the lock in a file is over if its owner shows no sign of life, 0 if it is over already.

    Raises LockedError where the owner is alive, or was so `stale_s` ago.
    """
    age_s, unchanged_s = _age_s(path, now)
    found = _read(path)
    if found is None:
        return UNWRITTEN_S - max(age_s, unchanged_s)
    if found.released or _has_ended(found):
        return 0.0
    if found.machine == _machine() or 0.0 <= age_s <= stale_s:
        raise LockedError(found)
    return (stale_s if age_s < 0.0 else min(2 * heartbeat_s, stale_s)) - unchanged_s


def _age_s(path: Path, now: float) -> tuple[float, float]:
    """Seconds since a file was changed (negative for a future time), and for which this process has seen no change.

    Both without end where it was removed.
    """
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return math.inf, math.inf
    seen = _seen.get(path)
    if seen is None or seen[0] != changed:
        seen = _seen[path] = changed, time.monotonic()
    return now - changed / 1e9, time.monotonic() - seen[1]


def _highest(run_dir: Path) -> tuple[int, Path]:
    locks = lock_numbers(run_dir)
    number = max(locks, default=0)
    return number, locks.get(number, run_dir)


def _tidy(run_dir: Path, number: int, before: float) -> None:
    """Remove lower locks (a process that reads them creates a number below the highest, and loses) and leftovers."""
    lower = {path for other, path in lock_numbers(run_dir).items() if other < number}
    for path in (run_dir / LOCKS).iterdir():
        with contextlib.suppress(OSError):  # removed meanwhile, or a folder of that name
            old = (path.match(".*.tmp") or path.suffix == PROGRESS) and path.stat().st_mtime < before
            if old or (path.with_suffix(".json") in lower and path.suffix in (".json", PROGRESS)):
                _seen.pop(path, None)
                path.unlink()


def _read(path: Path) -> LockOwner | None:
    """The owner in a lock's file; None where the file is not whole, as after a crash without hard links."""
    try:
        owner = parse(LockOwner, path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return owner if re.fullmatch(r"[0-9]{1,18}@[0-9]*", owner.process) else None


def _has_ended(found: LockOwner) -> bool:
    """Whether the owner is a process of this machine that has ended."""
    number = found.process.split("@")[0]
    return found.machine == _machine() and _process(int(number)) not in (found.process, f"{number}@")


def _machine() -> str:
    """The kernel's boot and process namespace; the host's name where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _process(number: int) -> str:
    """A process by number and, where /proc shows it, start time, by which a later one with its number is another.

    "ended" where there is no such process.
    """
    try:
        stat = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        import psutil

        return f"{number}@" if psutil.pid_exists(number) else "ended"
    return "ended" if stat[0] in "ZX" else f"{number}@{stat[19]}"
