"""Why a run failed last, kept with its results until it is tried again."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from afterkernel.files.reading import read_text
from afterkernel.records.files import write_atomic

FAILURE = "failure.json"


def write_failure(run_dir: Path, message: str) -> None:
    """Keep the message; if the disk does not take it, the log and the terminal have it."""
    content = {"message": message, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    with contextlib.suppress(OSError):
        write_atomic(run_dir / FAILURE, json.dumps(content) + "\n")


def read_failure(run_dir: Path) -> str | None:
    """Why the run failed last; None if it did not, or that is unknown."""
    try:
        return str(json.loads(read_text(run_dir / FAILURE))["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_failure(run_dir: Path) -> None:
    """The run is tried again."""
    (run_dir / FAILURE).unlink(missing_ok=True)
