"""The reason of a run's last failure, RUN/failure.json, until the run is started again."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from afterkernel.files.reading import read_text
from afterkernel.records.files import write_atomic

FAILURE = "failure.json"


def write_failure(run_dir: Path, message: str) -> None:
    """Write the message; errors are ignored, since the log and the terminal show it too."""
    content = {"message": message, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    with contextlib.suppress(OSError):
        write_atomic(run_dir / FAILURE, json.dumps(content) + "\n")


def read_failure(run_dir: Path) -> str | None:
    """The reason of the last failure; None if there is none, or it can not be read."""
    try:
        return str(json.loads(read_text(run_dir / FAILURE))["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_failure(run_dir: Path) -> None:
    """Remove the reason, as the run is started again."""
    (run_dir / FAILURE).unlink(missing_ok=True)
