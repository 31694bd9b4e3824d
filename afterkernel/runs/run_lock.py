"""Run locks: at most one process works on a run, on one machine or on several that share a file system.

RUN_ID/locks/0003.json        who holds the run, and since when; its time of change is the holder's heartbeat
RUN_ID/locks/0003.progress    the progress of the holder (see `afterkernel.runs.progress_file`)

The lock with the highest number is valid; it is never deleted, only superseded by a higher one. Processes therefore
race only to create a file (a hard link to a complete file, atomic also on NFS), and a process that acts on outdated
information loses that race. The number is a fencing token: it names the records that are written under the lock (see
`afterkernel.records.store`) and is higher than that of any record.

A lock ends when its holder releases it, when its process has ended (on the same machine), or when its heartbeat has
stopped for `STALE_S` by the file system's clock. Since clocks may jump, a lock of another machine must also be seen
unchanged for two heartbeats of this process's monotonic clock, and for `STALE_S` if its time is in the future.
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
# Lock files as this process saw them: time of change, and since when (monotonic) it has not changed.
_seen: dict[Path, tuple[int, float]] = {}


@dataclass(frozen=True)
class LockOwner:
    """The process that holds a lock; it can not be confused with one on another machine or after a restart.

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

        The files are read at most once per second. A takeover takes longer, so a paused process notices it at once.
        """
        now_s = time.monotonic()
        if now_s - self._looked_s > LOOK_S:
            self._looked_s = now_s
            with contextlib.suppress(OSError):
                self._lost = self._lost or not self._counts()
        if self._lost:
            raise LockLostError(f"{self.path.parent.parent.name} was taken over by another process")

    def beat(self) -> None:
        """Renew the heartbeat, and check whether the lock is still valid."""
        with contextlib.suppress(OSError):  # the disk may be full or unreachable for a moment
            self._lost = self._lost or not self._counts()
            if not self._lost:
                os.utime(self.path)

    def release(self) -> None:
        """Mark the lock as released; if the disk is too full for that, the lock becomes stale later."""
        with contextlib.suppress(OSError):
            if self._counts():
                write_atomic(self.path, json.dumps(asdict(replace(self.owner, released=True))))

    def _counts(self) -> bool:
        return _highest(self.path.parent.parent)[0] == self.number


@contextlib.contextmanager
def run_lock(run_dir: Path, *, heartbeat_s: float = HEARTBEAT_S, stale_s: float = STALE_S) -> Iterator[RunLock]:
    """Hold the lock of a run for the length of the block. Raises LockedError where another process holds it.

    To find out whether an owner on another machine is alive, this waits for two heartbeats or `stale_s`.
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
    # A stopped process of this machine keeps its lock.
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
            # Read before the decision below: a number read later could be above that of a new holder.
            least = next_number(run_dir)
            number, path = _highest(run_dir)
            if number:
                os.utime(draft)  # its time of change is then the present time of the file system
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
            if _highest(run_dir)[0] != number:  # another process was faster
                wanted.unlink(missing_ok=True)
                continue
            _tidy(run_dir, number, before=draft.stat().st_mtime - stale_s)
            return RunLock(wanted, number, mine)
    finally:
        draft.unlink(missing_ok=True)


def _wait_s(path: Path, now: float, heartbeat_s: float, stale_s: float) -> float:
    """Seconds until the lock in a file ends unless its owner renews the heartbeat; 0 if it has ended.

    Raises LockedError if the owner is alive, or was alive `stale_s` ago.
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
    """Seconds since a file was changed (negative for a future time), and since this process saw it change.

    Both are infinite if the file was removed.
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
    """Remove lower locks (a process that has read them tries a number that is too low, and fails) and old drafts."""
    lower = {path for other, path in lock_numbers(run_dir).items() if other < number}
    for path in (run_dir / LOCKS).iterdir():
        with contextlib.suppress(OSError):  # removed meanwhile, or a folder of that name
            old = (path.match(".*.tmp") or path.suffix == PROGRESS) and path.stat().st_mtime < before
            if old or (path.with_suffix(".json") in lower and path.suffix in (".json", PROGRESS)):
                _seen.pop(path, None)
                path.unlink()


def _read(path: Path) -> LockOwner | None:
    """The owner in a lock file; None if the file is incomplete, as after a crash without hard links."""
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
    """The kernel's boot id and process namespace; the host's name if there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _process(number: int) -> str:
    """A process by number and (from /proc) start time, since numbers are reused; "ended" if there is none."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        import psutil

        return f"{number}@" if psutil.pid_exists(number) else "ended"
    return "ended" if stat[0] in "ZX" else f"{number}@{stat[19]}"
