"""The display of progress on a terminal: bars that stay at the bottom while lines scroll above them.

It is drawn on the standard error, so that the standard output may go to a file or another program. `print_above` prints
lines above it; without a display that is `print`. A process has one display at a time: `waiting` starts it, before
anything slow, and a `display` within it takes it over.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TextIO

from afterkernel.text import duration

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

REFRESHES_A_SECOND = 2
WIDE = 110  # columns from which a row fits one line

Where = Literal["out", "err"]


@dataclass(frozen=True)
class ProgressRow:
    """One thing in progress: its name, its stage, the share that is done (None: unknown), the time remaining."""

    name: str
    words: str
    fraction: float | None
    left: str


@dataclass(frozen=True)
class ProgressView:
    """What the display shows: rows, and above them a heading with the bar of the whole, if there is one."""

    rows: Sequence[ProgressRow]
    heading: str = ""
    fraction: float | None = None


class Display:
    """A display that is being shown; `is_free` while it only says what the program waits for."""

    def __init__(self, view: Callable[[], ProgressView], console: Console, *, is_free: bool = False) -> None:
        self.view, self.console, self.is_free = view, console, is_free
        self._out, self._err = sys.stdout, sys.stderr
        self._live = self._started()

    def _started(self) -> Live:
        from rich.live import Live

        live = Live(
            console=self.console,
            get_renderable=self.renderable,
            refresh_per_second=REFRESHES_A_SECOND,
            transient=True,
            # What is redirected to a file must not appear on the terminal.
            redirect_stdout=self._out.isatty(),
            redirect_stderr=self._err.isatty(),
        )
        live.start()
        return live

    def stop(self) -> None:
        """Take it off the terminal."""
        self._live.stop()

    def renderable(self) -> RenderableType:
        """The view of this moment, as high as the terminal is at most."""
        return render(self.view(), self.console.width, self.console.height)

    def print_above(self, text: str, where: Where) -> None:
        """A line above the display, or where its stream goes."""
        stream = self._out if where == "out" else self._err
        if stream.isatty():
            self.console.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)
        elif _is_pipe(stream):
            # Its reader, such as tee, may write to this terminal.
            self._live.stop()
            print(text, file=stream, flush=True)
            self._live = self._started()  # drawn half a second later
        else:
            print(text, file=stream, flush=True)


_shown: Display | None = None


def is_shown() -> bool:
    """Whether this process has a display on the terminal."""
    return _shown is not None


def print_above(text: str, where: Where = "out") -> None:
    """Print a line on the standard output or error; above the display, if there is one."""
    if _shown is not None:
        _shown.print_above(text, where)
    else:
        print(text, file=sys.stdout if where == "out" else sys.stderr, flush=True)


@contextlib.contextmanager
def display(view: Callable[[], ProgressView]) -> Iterator[bool]:
    """Show the view, redrawn twice a second, while the block runs; the block gets False if there is no terminal."""
    if _shown is not None and _shown.is_free:
        with _taken_over(_shown, view):
            yield True
    elif _can_show():
        with _started(view):
            yield True
    else:
        yield False


@contextlib.contextmanager
def waiting(reason: str) -> Iterator[None]:
    """Show what the program waits for, and for how long, until a `display` takes its place; nothing off a terminal."""
    if not _can_show():
        yield
        return
    with _started(_waits(reason), is_free=True):
        yield


def _waits(reason: str) -> Callable[[], ProgressView]:
    began = time.monotonic()
    return lambda: ProgressView([], f"{reason} ({duration(time.monotonic() - began)})")


@contextlib.contextmanager
def _started(view: Callable[[], ProgressView], *, is_free: bool = False) -> Iterator[None]:
    global _shown
    from rich.console import Console

    shown = Display(view, Console(stderr=True), is_free=is_free)
    _shown = shown
    try:
        yield
    finally:
        _shown = None
        shown.stop()


@contextlib.contextmanager
def _taken_over(shown: Display, view: Callable[[], ProgressView]) -> Iterator[None]:
    shown.view, shown.is_free = view, False
    try:
        yield
    finally:
        shown.view, shown.is_free = _waits("finishing"), True


def _can_show() -> bool:
    if _shown is not None or not sys.stderr.isatty() or os.environ.get("TERM", "") in ("dumb", "unknown"):
        return False
    return importlib.util.find_spec("rich") is not None


def render(view: ProgressView, width: int, height: int) -> RenderableType:
    """The view for a terminal of so many columns and lines; rows that do not fit are counted."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    if view.heading:
        parts.append(Text(view.heading, no_wrap=True, overflow="ellipsis"))
        if view.fraction is not None:
            whole = Table.grid(expand=True)
            whole.add_row(ProgressBar(total=1.0, completed=view.fraction))
            parts.append(whole)
    wide = width >= WIDE
    room = max(1, (height - 2 - len(parts)) // (1 if wide else 2))
    rows = view.rows if len(view.rows) <= room else view.rows[: max(1, room - 1)]
    left_width = max((len(row.left) for row in rows), default=0)

    def grid() -> Table:
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=None if wide else 1)
        if wide:
            table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column(width=20 if wide else 12)
        table.add_column(no_wrap=True, justify="right", width=left_width)
        return table

    table = grid()
    for row in rows:
        bar = Text("") if row.fraction is None else ProgressBar(total=1.0, completed=row.fraction)
        if wide:
            table.add_row(Text(row.name), Text(row.words), bar, Text(row.left))
            continue
        own = grid()
        own.add_row(Text(row.name), bar, Text(row.left))
        parts += [own, Text(f"  {row.words}", no_wrap=True, overflow="ellipsis")]
    if wide and rows:
        parts.append(table)
    if len(rows) < len(view.rows):
        parts.append(Text(f"and {len(view.rows) - len(rows)} more"))
    return Group(*parts)


def _is_pipe(stream: TextIO) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False
