"""The task function that Hydra calls for a single run."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig

from afterkernel.config import prepare, to_config
from afterkernel.runs.worker import execute
from afterkernel.sweep.grid import make_job
from afterkernel.sweep.progress import display_run

# The process of a Hydra launcher imports only this module before it resolves the configuration.
prepare()


def task(cfg: DictConfig) -> None:
    """Check the configuration, then run it in its folder."""
    job = make_job(to_config(cfg))
    with display_run(job.run_id, Path(job.run_dir)):
        outcome = execute(job)
    if outcome.state == "locked":
        print(f"{outcome.run_id} is skipped: {outcome.message}.")
    if outcome.state == "failed":
        log = "" if outcome.user_error else f" (log: {outcome.log})"
        print(f"afterkernel: {outcome.message}{log}", file=sys.stderr)
        sys.exit(2 if outcome.user_error else 1)
