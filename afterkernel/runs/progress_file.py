"""Progress of a run, in its folder, so that any process can read it, on any machine.

RUN_ID/locks/0003.progress    what the holder of lock 0003 is doing

It is written by a thread of its own, so that the work never waits for a disk, and is deleted when the run ends. Its
name is that of the lock, so a process that lost the run cannot replace what its successor writes. A file that a killed
process left counts as little as its lock does, and goes with it.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from afterkernel.errors import LockLostError
from afterkernel.files.reading import read_text
from afterkernel.progress.work import Progress, RunStages, watched
from afterkernel.runs.run_lock import PROGRESS, RunLock, progress_of

VERSION = 1
FIRST_S = 0.5
BETWEEN_S = 2.0


@contextlib.contextmanager
def watching(lock: RunLock) -> Iterator[None]:
    """Write the progress of the run while its lock is held and the block runs; no failure of a disk ends it."""
    writer = Writer(lock.path.with_suffix(PROGRESS))
    ended = threading.Event()
    with watched() as stages:
        thread = threading.Thread(target=_keep, args=(writer, stages, ended, lock), name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            writer.remove()


def _keep(writer: Writer, stages: RunStages, ended: threading.Event, lock: RunLock) -> None:
    wait_s = FIRST_S
    with contextlib.suppress(LockLostError):  # the work raises it too
        while not ended.wait(wait_s):
            lock.check()
            writer.write(stages.progress())
            wait_s = BETWEEN_S


class Writer:
    """Writes the file whole or not at all, where it says something new."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._draft = path.with_name(f".{path.name}.tmp")
        self._last: tuple[object, ...] | None = None

    def write(self, report: Progress) -> None:
        """Write it, unless it says what the file says."""
        now = report.words, report.fraction, report.silent_since
        if now == self._last:
            return
        with contextlib.suppress(OSError):
            # Not synced: after a power cut the progress is of no interest.
            self._draft.write_text(json.dumps({"version": VERSION, **asdict(report)}) + "\n", encoding="utf-8")
            self._draft.replace(self.path)
            self._last = now

    def remove(self) -> None:
        """Remove the file."""
        for path in (self._draft, self.path):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def read_progress(run_dir: Path) -> Progress | None:
    """What the run said last, also long ago: ask `owner_of` whether it counts. None where it says nothing."""
    try:
        found = json.loads(read_text(progress_of(run_dir)))
        if found.pop("version") != VERSION:
            return None
        report = Progress(**found)
        _check(report)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return report


def _check(report: Progress) -> None:
    for name, value in asdict(report).items():
        wanted = str if name in ("stage", "words") else int | float | None
        if not isinstance(value, wanted):
            raise TypeError(name)
