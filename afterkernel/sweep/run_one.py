"""Runs a single run in this process."""

from __future__ import annotations

import sys

from afterkernel.config import Config
from afterkernel.runs.worker import execute
from afterkernel.sweep.grid import entry_of
from afterkernel.sweep.progress import one_shown


def run_one(config: Config) -> int:
    """Run a checked configuration in its folder; 0 unless it failed, then 2 for a user's mistake or else 1."""
    entry = entry_of(config)
    with one_shown(entry.job.run_id, entry.run_dir):
        outcome = execute(entry.job)
    if outcome.state == "locked":
        print(f"{outcome.run_id} is skipped: {outcome.message}.")
    if outcome.state != "failed":
        return 0
    log = "" if outcome.user_error else f" (log: {outcome.log})"
    print(f"afterkernel: {outcome.message}{log}", file=sys.stderr)
    return 2 if outcome.user_error else 1
