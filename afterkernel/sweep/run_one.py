"""Runs a single run in this process."""

from __future__ import annotations

import sys

from afterkernel.config import Config
from afterkernel.exit_codes import ExitCode
from afterkernel.runs.worker import execute
from afterkernel.sweep.grid import planned_run, recorded
from afterkernel.sweep.progress import display_run


def run_one(config: Config) -> int:
    """Run a checked configuration in its folder; 0 unless it failed, then 2 for a user's mistake or else 1."""
    planned = planned_run(config)
    if recorded([planned]):
        print(f"{planned.job.run_id} is recorded in {config.sweep.recorded}; force=true runs it")
        return 0
    with display_run(planned.job.run_id, planned.run_dir):
        outcome = execute(planned.job)
    if outcome.state == "locked":
        print(f"{outcome.run_id} is skipped: {outcome.message}.")
    if outcome.state != "failed":
        return 0
    log = "" if outcome.user_error else f" (log: {outcome.log})"
    print(f"afterkernel: {outcome.message}{log}", file=sys.stderr)
    return ExitCode.USER_ERROR if outcome.user_error else ExitCode.FAILED
