"""One job of Hydra's: what a launcher runs, in this process or another."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from afterkernel.config import prepare, run_id, typed
from afterkernel.errors import UserError
from afterkernel.run import run

log = logging.getLogger(__name__)

# A launcher's worker process imports this module and nothing else of ours before it resolves the configuration.
prepare()


def job(cfg: DictConfig) -> None:
    """Check the configuration, then run it in the folder that Hydra made for it."""
    # Lightning's own lines repeat what ours say.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    # What libraries say to each other's authors is no news to a user.
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category)
    try:
        config = typed(cfg)
        log.info("run %s of sweep %s", run_id(config), config.sweep.name)
        run(config, Path(HydraConfig.get().runtime.output_dir))
    except UserError as error:
        log.error("failed: %s", error)
        if HydraConfig.get().mode == RunMode.RUN:
            sys.exit(2)
        # In a sweep the other jobs go on, and Hydra prints this kind without a traceback at the end.
        raise CompactHydraException(str(error)) from None
    except Exception:
        log.exception("failed")
        raise
