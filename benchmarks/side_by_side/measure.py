"""Time and memory of one piece of work, measured in a process that does nothing else."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

REPEATS = 3
REPEAT_BELOW_S = 5.0
MOST_OF_MEMORY = 0.8  # of free memory, what a matrix of gradients may take
OVERFLOW_SIGNS = ("can't allocate memory", "memoryerror", "bad_alloc", "resource_exhausted", "out of memory")
EQUAL_TO = 1e-3  # of the largest entry: float32, and here and there a ReLU that switches within rounding


@dataclass(frozen=True)
class Outcome:
    """What came of a measurement: seconds and bytes, or in `says` why there are none.

    status: "ok", "limit" (too slow), "memory" (too large), "unequal" (another matrix than ours) or "failed". error: the
    largest difference from ours on a few images, relative to the largest entry.
    """

    status: str = "ok"
    seconds: float | None = None
    peak_bytes: int | None = None
    says: str = ""
    note: str = ""
    error: float | None = None

    def write(self, folder: Path, method: str) -> None:
        """Leave the outcome in the case's folder."""
        (folder / f"{method}.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path, method: str) -> Outcome | None:
        """The outcome that a process left, None if it left none."""
        path = folder / f"{method}.json"
        return cls(**json.loads(path.read_text())) if path.is_file() else None


class Memory(Protocol):
    """A meter of peak memory over what is held at its start."""

    def start(self) -> None:
        """Take what is held now as the baseline."""

    def peak_bytes(self) -> int:
        """The most that was held since, over the baseline."""


class HostMemory:
    """Resident memory of this process."""

    _before = 0

    def start(self) -> None:
        """Take the present as baseline, and forget earlier peaks where the system lets us (Linux)."""
        gc.collect()
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self._before = _peak_rss()

    def peak_bytes(self) -> int:
        """The peak since `start` over the baseline."""
        return _peak_rss() - self._before


def measure(work: Callable[[], object], memory: Memory, synchronise: Callable[[], None] = lambda: None) -> Outcome:
    """Seconds (the best of three where one takes less than five) and peak memory of the work."""
    memory.start()
    times = [seconds(work, synchronise)]
    while times[0] < REPEAT_BELOW_S and len(times) < REPEATS:
        times.append(seconds(work, synchronise))
    return Outcome(seconds=min(times), peak_bytes=memory.peak_bytes())


def seconds(work: Callable[[], object], synchronise: Callable[[], None] = lambda: None) -> float:
    """Seconds of the work, including what runs in parallel to this process."""
    synchronise()
    started = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - started


def free_bytes() -> int:
    """Memory that a new process could take."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def fail_before_the_system_does() -> None:
    """Bound this process's data by what is free, so that it alone fails and the system kills no bystander."""
    held = 0
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmData:"):
                held = int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError):
        most = held + int(0.9 * free_bytes())
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def too_large(needed: int, free: int) -> Outcome | None:
    """The outcome of work whose gradients alone do not fit; None where they do."""
    if needed <= MOST_OF_MEMORY * free:
        return None
    return Outcome("memory", says=f"needs {needed / 2**30:.1f} GiB")


def unequal(error: float) -> Outcome | None:
    """The outcome of a method whose entries depart from ours by that much of the largest; None for rounding."""
    if error < EQUAL_TO:
        return None
    note = f"its matrix of a few images is off ours by {error:.0e} of the largest entry, so it was not timed"
    return Outcome("unequal", says="another kernel", note=note, error=error)


def checked(outcome: Outcome, error: float) -> Outcome:
    """An outcome with a note where the matrix that was timed departs from ours in the images that were checked."""
    note = f"the matrix that was timed is off ours by {error:.0e} of the largest entry"
    return replace(outcome, error=error, note=outcome.note if error < EQUAL_TO else note)


def _peak_rss() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
