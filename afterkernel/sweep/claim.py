"""Claims: at most one process works on a run, on one machine or on several that share a file system.

RUN_ID/claims/0003.json    who holds the run, and since when; its time of change is the holder's heartbeat

The claim with the highest number is the one that counts, and it is never deleted, only followed by a higher one. So no
lock is needed: to make a file that is not there yet (a hard link to a finished file, atomic also on NFS) is all that
processes race for, and who looked too long ago loses that race. A claim is over when its holder says so, when its
process is gone (on the same machine), or when its heartbeat has stopped for `STALE_S` by the file system's clock.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from afterkernel.store.files import write_text_atomic

CLAIMS = "claims"
HEARTBEAT_S = 10.0
STALE_S = 120.0
UNWRITTEN_S = 2.0


@dataclass(frozen=True)
class Holder:
    """Who holds a claim: a process, named so that its like on another machine or after a restart is not taken for it.

    `machine` is the kernel's boot and process namespace, within which `process` (number and start time) is unique.
    `since` is in seconds since 1970, by the holder's clock.
    """

    host: str
    machine: str
    process: str
    token: str
    since: float
    released: bool = False

    def __str__(self) -> str:
        return f"process {self.process.split('@')[0]} on {self.host}"


class ClaimedError(Exception):
    """Another process holds the run."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(str(holder))
        self.holder = holder


class ClaimLostError(Exception):
    """The run was taken over by another process, for this one had shown no sign of life for too long."""


class Claim:
    """A claim held by this process; `check` raises ClaimLostError once another has taken it over."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self.path, self.holder = path, holder
        self._lost = False

    def check(self) -> None:
        """Raise ClaimLostError where the run has been taken over; costs nothing."""
        if self._lost:
            raise ClaimLostError(f"{self.path.parent.parent.name} was taken over by another process")

    def beat(self) -> None:
        """Show a sign of life, and look whether the claim still counts."""
        with contextlib.suppress(OSError):  # a full or absent disk for a moment is no reason to give up
            if _highest(self.path.parent)[0] == int(self.path.stem):
                os.utime(self.path)
            else:
                self._lost = True

    def release(self) -> None:
        """Say that the run is free; a disk too full to say so leaves it to be found stale."""
        with contextlib.suppress(OSError):
            if _highest(self.path.parent)[0] == int(self.path.stem):
                write_text_atomic(self.path, json.dumps(asdict(replace(self.holder, released=True))))


@contextlib.contextmanager
def claim(run_dir: Path, *, heartbeat_s: float = HEARTBEAT_S, stale_s: float = STALE_S) -> Iterator[Claim]:
    """Hold the claim on a run for the length of the block. Raises ClaimedError where another process holds it."""
    held = _acquire(run_dir / CLAIMS, stale_s)
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


def holder_of(run_dir: Path, *, stale_s: float = STALE_S) -> Holder | None:
    """Who works on a run at this moment, or None; writes nothing."""
    number, path = _highest(run_dir / CLAIMS)
    if number == 0:
        return None
    found = _read(path)
    return found if found is not None and not _is_over(found, path, stale_s, now=time.time()) else None


def _acquire(folder: Path, stale_s: float) -> Claim:
    folder.mkdir(parents=True, exist_ok=True)
    mine = Holder(socket.gethostname(), _machine(), _process(os.getpid()), secrets.token_hex(8), time.time())
    # Not `write_text_atomic`: the name must stay, to be linked from.
    draft = folder / f".{mine.token}.tmp"
    try:
        draft.write_text(json.dumps(asdict(mine)))
        while True:
            number, path = _highest(folder)
            if number:
                os.utime(draft)  # its time of change is then the file system's own present
                now = draft.stat().st_mtime
                found = _read(path)
                if found is None and _age_s(path, now) < UNWRITTEN_S:
                    time.sleep(UNWRITTEN_S / 10)
                    continue
                if found is not None and not _is_over(found, path, stale_s, now):
                    raise ClaimedError(found)
            wanted = folder / f"{number + 1:04d}.json"
            if not _make(draft, wanted):
                continue
            if _highest(folder)[0] != number + 1:  # what was looked at was long past
                wanted.unlink()
                continue
            _tidy(folder, number + 1, before=draft.stat().st_mtime - stale_s)
            return Claim(wanted, mine)
    finally:
        draft.unlink(missing_ok=True)


def _make(draft: Path, wanted: Path) -> bool:
    """Give the draft its name, unless that is taken."""
    try:
        os.link(draft, wanted)
    except FileExistsError:
        return False
    except OSError:
        # No hard links here: then an exclusive creation, which every file system since NFS 3 has.
        try:
            with wanted.open("x") as file:
                file.write(draft.read_text())
        except FileExistsError:
            return False
    return True


def _highest(folder: Path) -> tuple[int, Path]:
    numbers = [int(path.stem) for path in folder.glob("[0-9]*.json")] if folder.is_dir() else []
    number = max(numbers, default=0)
    return number, folder / f"{number:04d}.json"


def _tidy(folder: Path, number: int, before: float) -> None:
    """Remove lower claims (whoever still looks at them makes a file below the highest, and so loses) and old drafts."""
    for path in folder.glob("[0-9]*.json"):
        if int(path.stem) < number:
            path.unlink(missing_ok=True)
    for draft in folder.glob(".*.tmp"):
        if -_age_s(draft, 0.0) < before:
            draft.unlink(missing_ok=True)


def _read(path: Path) -> Holder | None:
    """Who holds a claim; None where the file is not whole, as after a crash without hard links."""
    try:
        return Holder(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _is_over(found: Holder, path: Path, stale_s: float, now: float) -> bool:
    if found.released:
        return True
    if found.machine == _machine():
        return _process(int(found.process.split("@")[0])) != found.process
    return _age_s(path, now) > stale_s


def _age_s(path: Path, now: float) -> float:
    """Seconds since a file was changed; without end where it is gone."""
    try:
        return now - path.stat().st_mtime
    except OSError:
        return math.inf


def _machine() -> str:
    """The kernel's boot and process namespace; the host's name where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _process(number: int) -> str:
    """A process by number and start time, so that a later one with its number is another; "gone" without one."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _without_proc(number)
    return "gone" if stat[0] in "ZX" else f"{number}@{stat[19]}"


def _without_proc(number: int) -> str:
    if Path("/proc/self").exists():
        return "gone"
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass
    return f"{number}@"
