"""Progress of a run as a file in its folder, which any process on any machine can read.

RUN_ID/locks/0003.progress    the progress of the process that holds lock 0003

A separate thread writes the file, so that the work never waits for a disk, and deletes it when the run ends. The file
is named after the lock: a process that lost the run can not overwrite the progress of its successor. The file of a
killed process is ignored as soon as its lock is, and deleted with it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from afterkernel.errors import LockLostError
from afterkernel.files.json_data import decode, encode
from afterkernel.files.reading import read_text
from afterkernel.progress.work import Progress, RunStages, watched
from afterkernel.runs.run_lock import PROGRESS, RunLock, progress_of

FIRST_S = 0.5
BETWEEN_S = 2.0


@contextlib.contextmanager
def writing_progress(lock: RunLock) -> Iterator[None]:
    """Write the progress of the run while the block runs; errors of the disk are ignored."""
    writer = ProgressWriter(lock.path.with_suffix(PROGRESS))
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


def _keep(writer: ProgressWriter, stages: RunStages, ended: threading.Event, lock: RunLock) -> None:
    wait_s = FIRST_S
    with contextlib.suppress(LockLostError):  # the main thread raises it too
        while not ended.wait(wait_s):
            lock.check()
            writer.write(stages.progress())
            wait_s = BETWEEN_S


class ProgressWriter:
    """Writes the file atomically, and only if the progress has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._draft = path.with_name(f".{path.name}.tmp")
        self._last: tuple[object, ...] | None = None

    def write(self, report: Progress) -> None:
        """Write the progress, unless the file holds it already."""
        now = report.words, report.fraction, report.silent_since
        if now == self._last:
            return
        with contextlib.suppress(OSError):
            # Not synced: after a power failure the progress is out of date anyway.
            self._draft.write_text(encode(report), encoding="utf-8")
            self._draft.replace(self.path)
            self._last = now

    def remove(self) -> None:
        """Remove the file."""
        for path in (self._draft, self.path):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def read_progress(run_dir: Path) -> Progress | None:
    """The last progress written, however old; None if there is no file.

    A run without an owner (see `run_lock.owner_of`) is not active any more, although its file may remain.
    """
    try:
        return decode(Progress, read_text(progress_of(run_dir)))
    except (OSError, ValueError):
        return None
