"""The exit codes of all commands, declared once: help and documentation list them from here."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """How a command ended; `meaning` in words."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> ExitCode:
        """A code with its meaning."""
        made = int.__new__(cls, code)
        made._value_, made.meaning = code, meaning
        return made

    DONE = 0, "everything that was asked for is done"
    FAILED = (
        1,
        "a run failed and the others are done, an upload failed, verify found different numbers, doctor found no "
        "working SVM, or the program has a bug and ends with a traceback",
    )
    USER_ERROR = 2, "an option, a file or an argument is wrong, or the disk is full; one sentence says what to change"
    SKIPPED = 3, "done, but damaged files were skipped and named"
    INTERRUPTED = 130, "interrupted by Ctrl-C; the same command continues"
    CLOSED_PIPE = 141, "the reader of the output ended first, as head does"
