"""Ctrl-C in a sweep: the first one stops it in order, and further ones do not interrupt the stopping."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Interrupts closer together count as one: `timeout`, for example, signals both the program and its group.
TOGETHER_S = 1.0


@contextmanager
def interrupted_once() -> Iterator[threading.Event]:
    """Within the block the first Ctrl-C raises KeyboardInterrupt, and later ones raise nothing.

    One that comes `TOGETHER_S` or more after the first sets the yielded event: running jobs are then to be killed.
    If Ctrl-C is ignored, or outside the main thread, nothing changes.
    """
    force_stop, first_s = threading.Event(), list[float]()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if not first_s:
            first_s.append(now_s)
            raise KeyboardInterrupt
        if now_s - first_s[0] >= TOGETHER_S:
            force_stop.set()

    installed = callable(signal.getsignal(signal.SIGINT)) and threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, on_signal) if installed else None
    try:
        yield force_stop
    finally:
        if installed:
            signal.signal(signal.SIGINT, before)
