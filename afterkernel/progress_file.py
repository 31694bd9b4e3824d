"""Where a run stands, in its folder: RUN_ID/progress.json, so that any process may look, on any machine.

It is written by a thread of its own, so that the work never waits for a disk, and is deleted when the run ends. One
that a killed process left behind says nothing: it counts while somebody holds the lock of the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from afterkernel.input_files import read_text
from afterkernel.progress import Report, Work, watched

PROGRESS = "progress.json"
VERSION = 1
FIRST_S = 0.5
BETWEEN_S = 2.0


@contextlib.contextmanager
def watching(run_dir: Path) -> Iterator[None]:
    """Write where the run stands while the block runs, for who alone works on the run; no failure of a disk ends it."""
    writer = Writer(run_dir / PROGRESS)
    writer.forget()  # of a process that was killed
    ended = threading.Event()
    with watched() as work:
        thread = threading.Thread(target=_keep, args=(writer, work, ended), name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            writer.forget()


def _keep(writer: Writer, work: Work, ended: threading.Event) -> None:
    wait_s = FIRST_S
    while not ended.wait(wait_s):
        writer.write(work.report())
        wait_s = BETWEEN_S


class Writer:
    """Writes the file whole or not at all, where it says something new."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._last: tuple[object, ...] | None = None

    def write(self, report: Report) -> None:
        """Write it, unless it says what the file says."""
        now = report.words, report.fraction, report.silent_since
        if now == self._last:
            return
        with contextlib.suppress(OSError):
            # Not synced: after a power cut nobody asks where the run stood.
            self._draft.write_text(json.dumps({"version": VERSION, **asdict(report)}) + "\n", encoding="utf-8")
            self._draft.replace(self.path)
            self._last = now

    def forget(self) -> None:
        """Remove it."""
        for path in (self._draft, self.path):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def read_progress(run_dir: Path) -> Report | None:
    """What the run said last, also long ago: ask `owner_of` whether it counts. None where it says nothing."""
    try:
        found = json.loads(read_text(run_dir / PROGRESS))
        if found.pop("version") != VERSION:
            return None
        report = Report(**found)
        _check(report)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return report


def _check(report: Report) -> None:
    for name, value in asdict(report).items():
        wanted = str if name in ("stage", "words") else int | float | None
        if not isinstance(value, wanted):
            raise TypeError(name)
