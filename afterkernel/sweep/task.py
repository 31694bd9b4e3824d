"""What Hydra calls for one job: a single run, or one of a sweep under a launcher that is not ours."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from afterkernel.config import prepare, typed
from afterkernel.sweep.grid import job_of
from afterkernel.sweep.tally import one_shown
from afterkernel.sweep.worker import execute

# Another launcher's process imports this module, and nothing else of ours, before it resolves the configuration.
prepare()


def task(cfg: DictConfig) -> None:
    """Check the configuration, then run it in its folder."""
    job = job_of(typed(cfg))
    # A sweep's launcher that is not ours may run several here at once.
    alone = HydraConfig.get().mode == RunMode.RUN
    with one_shown(job.run_id, Path(job.run_dir)) if alone else contextlib.nullcontext():
        outcome = execute(job)
    if outcome.state == "elsewhere":
        print(f"{outcome.run_id} is left alone: {outcome.sentence}.")
    if outcome.state != "failed":
        return
    if alone:
        log = "" if outcome.mistake else f" (log: {outcome.log})"
        print(f"afterkernel: {outcome.sentence}{log}", file=sys.stderr)
        sys.exit(2 if outcome.mistake else 1)
    # In a sweep the other jobs go on, and Hydra prints this kind without a traceback at the end.
    raise CompactHydraException(outcome.sentence)
